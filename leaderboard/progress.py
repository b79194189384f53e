"""Progress for people: a bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboard.evaluate import Progress

LOG_LINES = 5
"""How many lines an evaluation writes where there is no terminal."""


def _standing(progress: Progress) -> str:
    """Counts, and a rate only at the end: who fails soon is finished first, so that a rate would be too low by far."""
    if progress.done == progress.total:
        return f"{progress.successes} successful ({100 * progress.successes / progress.total:.1f}%)"
    return f"{progress.successes} successful, {progress.total - progress.done} unfinished"


def in_words(seconds: float) -> str:
    """A length of time, for reading."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def time_left(progress: Progress, played: int, seconds: float) -> str:
    """How long the rest takes at the pace so far, for reading; empty where there is no rest or no pace.

    Args:
        progress: how far the evaluation is.
        played: episodes of this attempt; those of earlier ones say nothing of the pace.
        seconds: that they took.
    """
    rest = progress.total - progress.done
    if not rest or not played:
        return ""
    return f", about {in_words(seconds / played * rest)} left"


class _Log:
    """Writes about :data:`LOG_LINES` lines of an evaluation."""

    def __init__(self, console: Console, what: str) -> None:
        self.console = console
        self.what = what
        self.part = 0
        self.first: int | None = None
        self.start = time.perf_counter()

    def __call__(self, progress: Progress) -> None:
        if self.first is None:
            self.first = progress.done
        part = progress.done * LOG_LINES // progress.total
        if part > self.part:
            self.part = part
            left = time_left(progress, progress.done - self.first, time.perf_counter() - self.start)
            line = f"{self.what}: {progress.done} of {progress.total} episodes finished, {_standing(progress)}{left}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def evaluation_progress(console: Console, what: str, bar: bool = True) -> Iterator[Callable[[Progress], None]]:
    """Show an evaluation while it runs.

    Args:
        console: where to; a bar if it is a terminal, else about :data:`LOG_LINES` lines.
        what: what is being evaluated.
        bar: whether a bar may be drawn; not where somebody types into the same terminal.

    Yields:
        a function to call with each :class:`~leaderboard.evaluate.Progress`.
    """
    if not (bar and console.is_terminal):
        yield _Log(console, what)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, TextColumn("{task.fields[news]}", markup=False), console=console) as bars:
        task = bars.add_task(what, total=None, news="")
        yield lambda progress: bars.update(
            task, completed=progress.done, total=progress.total, news=_standing(progress)
        )
