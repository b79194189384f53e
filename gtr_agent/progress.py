"""What a run tells of itself: a line of JSON for each record, and progress for people."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

OnRecord = Callable[[int, dict[str, float]], object]


class RunLog:
    """Writes ``metrics.jsonl`` and shows progress: a bar in a terminal, plain lines elsewhere.

    Args:
        title: what is running.
        total: how many steps there are.
        file: where the records go; None for nowhere.
        shown: the metrics to show, by name, each with its format.
        quiet: show nothing, as in all processes of a run but one.
        on_record: called with the step and its metrics after each record; None for nothing.
    """

    def __init__(
        self,
        title: str,
        total: int,
        file: Path | None,
        shown: dict[str, str],
        quiet: bool = False,
        on_record: OnRecord | None = None,
    ) -> None:
        self.title = title
        self.on_record = on_record
        self.total = total
        self.shown = shown
        self.latest: dict[str, float] = {}
        self.console = Console(file=sys.stderr, highlight=False, quiet=quiet)
        self.file: IO[str] | None = file.open("a", encoding="utf-8") if file is not None else None
        self.start = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(title, total=total, text="")

    def __enter__(self) -> RunLog:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()
        if self.file is not None:
            self.file.close()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self.bar.update(self.task, completed=step)

    def say(self, text: str) -> None:
        """A line for people, above the bar."""
        self.console.print(text, style="bold yellow", soft_wrap=True, markup=False)

    def note(self, text: str) -> None:
        """A plain line for people, above the bar."""
        self.console.print(text, soft_wrap=True, markup=False)

    def record(self, step: int, metrics: dict[str, float]) -> None:
        """Write a record and show it."""
        self.latest.update(metrics)
        if self.file is not None:
            self.file.write(json.dumps({"step": step, **metrics}) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())  # a checkpoint that is written next must not be without its line
        parts = [f"{name} {self.latest[name]:{form}}" for name, form in self.shown.items() if name in self.latest]
        text = "  ".join(parts)
        self.bar.update(self.task, completed=step, text=text)
        if not self.console.is_terminal:
            elapsed = time.monotonic() - self.start
            self.console.print(f"{self.title} {step}/{self.total}  {text}  {elapsed:.0f} s", soft_wrap=True)
        if self.on_record is not None:
            self.on_record(step, metrics)


class Clock:
    """Where an update's time goes."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Count the time since the last lap under this name."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now

    def report(self, steps: int) -> dict[str, float]:
        """Seconds a part and environment steps per second over all."""
        total = time.monotonic() - self.start
        parts = {f"seconds_{name}": round(value, 4) for name, value in self.seconds.items()}
        return {**parts, "seconds": round(total, 4), "steps_per_second": steps / total}
