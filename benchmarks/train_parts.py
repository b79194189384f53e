"""Where an update's time goes, measured from outside: the trainer's functions are wrapped while a benchmark runs.

The trainer itself logs the seconds of its parts; this splits collecting further (drawing pictures, laying out prompts,
reading them, writing answers), waits for the GPU before it looks at the clock, and adds the peak of memory. All of it
lands in the run's own ``metrics.jsonl``, as ``seconds_PART``, ``written_tokens`` and ``peak_memory``.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from gtr_agent import generation, policy, rollout
from gtr_agent.config import load_settings, read_value, validate_settings
from gtr_agent.progress import Clock
from gtr_agent.run_folder import METRICS
from gtr_agent.settings import Settings
from gtr_envs.episode import Seat
from gtr_envs.errors import SettingError

PARTS = ("render", "encode", "prefill", "decode", "score", "teacher", "imitate", "update", "merge", "save")
"""In the order of an update. The first four are those of collecting: the environments with their pictures; laying out
prompts, the vision tower included where it is frozen; the first pass over the prompts; and one pass a token."""

Record = dict[str, float]


class Meter:
    """Counts what the trainer's own clock does not, and adds it to each update's record.

    Args:
        device: where the model is; a GPU is waited for before the clock is read.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.counts: dict[str, float] = defaultdict(float)
        self.first_choice: float | None = None
        reset_peak(device)

    def now(self) -> float:
        """Seconds, once all that was begun is done."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, its seconds counted under a part's name."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            begin = self.now()
            try:
                return function(*arguments, **named)
            finally:
                self.counts[f"seconds_{part}"] += self.now() - begin

        return wrapped

    def timed_generate(self, generate: Callable[..., Any]) -> Callable[..., Any]:
        """``generate``: up to the choice of the first token it reads the prompts, from there on it writes."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.first_choice, begin = None, self.now()
            answers = generate(*arguments, **named)
            end = self.now()
            middle = end if self.first_choice is None else self.first_choice
            self.counts["seconds_prefill"] += middle - begin
            self.counts["seconds_decode"] += end - middle
            self.counts["written_tokens"] += sum(len(tokens) for tokens, _ in answers)
            return answers

        return wrapped

    def noted_choice(self, choose: Callable[..., Any]) -> Callable[..., Any]:
        """``choose_token``, whose first call in a generation is noted."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self.first_choice is None:
                self.first_choice = self.now()
            return choose(*arguments, **named)

        return wrapped

    def waiting_lap(self, lap: Callable[..., None]) -> Callable[..., None]:
        """``Clock.lap``, which a GPU's work that is still under way would fool."""

        def wrapped(clock: Clock, name: str) -> None:
            self.now()
            lap(clock, name)

        return wrapped

    def fuller_report(self, report: Callable[..., Record]) -> Callable[..., Record]:
        """``Clock.report`` with what was counted since the last one."""

        def wrapped(clock: Clock, steps: int) -> Record:
            found = {**report(clock, steps), **self.counts, "peak_memory": float(peak_memory(self.device))}
            self.counts.clear()
            reset_peak(self.device)
            return found

        return wrapped


@contextmanager
def metered(device: str) -> Iterator[None]:
    """Within it, the records of training runs say more.

    Args:
        device: where the models are, ``"cpu"`` or ``"cuda"``.
    """
    meter = Meter(device)
    with ExitStack() as stack:
        for place, name, wrap in (
            (Seat, "start", lambda function: meter.timed(function, "render")),
            (Seat, "apply", lambda function: meter.timed(function, "render")),
            (rollout, "encode_requests", lambda function: meter.timed(function, "encode")),
            (policy, "generate", meter.timed_generate),
            (generation, "choose_token", meter.noted_choice),
            (Clock, "lap", meter.waiting_lap),
            (Clock, "report", meter.fuller_report),
        ):
            stack.enter_context(patch.object(place, name, wrap(getattr(place, name))))
        yield


def settings_of(preset: str, changes: Sequence[str]) -> Settings:
    """A preset with changes, of which some may have no effect with its method: one list serves several methods.

    Args:
        preset: its name.
        changes: ``section.key=value`` each; later ones win.

    Raises:
        SettingError: an unknown preset, setting or value.
    """
    content = load_settings(preset).model_dump()
    for change in changes:
        name, separator, text = change.partition("=")
        *sections, key = name.strip().split(".")
        place: Any = content
        for section in sections:
            place = place.setdefault(section, {})
        if not separator or not isinstance(place, dict):
            raise SettingError(f"--set {change!r} is not of the form section.key=value")
        place[key] = read_value(text)
    return validate_settings(content)


def reset_peak(device: str) -> None:
    """Begin to watch for a new peak of memory; where Linux does not let one, the process's peak so far stays."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int:
    """The most bytes that tensors took on the GPU since :func:`reset_peak`, or on a CPU the whole process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def read_records(run: Path) -> list[Record]:
    """A run's updates, as it logged them."""
    return [json.loads(line) for line in (run / METRICS).read_text("utf-8").splitlines()]


def median(records: Sequence[Record], name: str) -> float:
    """The median of a figure over updates; 0 where a part does not exist."""
    return statistics.median(record.get(name, 0.0) for record in records)


def rest(records: Sequence[Record]) -> float:
    """Seconds an update that no part has: folding the adapter, keeping turns, what is said of them."""
    return statistics.median(
        record["seconds"] - sum(record.get(f"seconds_{part}", 0.0) for part in PARTS) for record in records
    )


def tokens_per_second(records: Sequence[Record]) -> float:
    """How fast answers are written, beyond the first token, which comes with the reading of the prompt."""
    seconds = sum(record["seconds_decode"] for record in records)
    return sum(record["written_tokens"] for record in records) / seconds if seconds else 0.0
