"""Learning curves: how a training run's figures went, update by update, from its ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gtr_envs.errors import ResultError
from leaderboard.records import LARGEST
from leaderboard.site.drawing import RATE, Axis, Tick, axis_for, number_text, polylines, ticks

METRICS = "metrics.jsonl"
STEP = "step"
SHOWN = (
    ("success", "Success in training, a batch", True),
    ("return", "Episode return in training", False),
    ("teacher_kl", "KL to the teacher", False),
)
"""The figures that are drawn: their key in the run's file, their title, and whether they are rates from 0 to 1."""

MAX_DOTS = 60


@dataclass(frozen=True)
class Curve:
    """One figure of a run over its updates, ready to be drawn.

    Attributes:
        title: what it is.
        lines: polylines in a box of 100 by 100.
        dots: (x, y) of single points in percent; none where there would be too many.
        across, up: ticks.
        summary: the curve in words.
    """

    title: str
    lines: tuple[str, ...]
    dots: tuple[tuple[str, str], ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    summary: str


def find_runs(paths: Sequence[Path], notice: Callable[[str], None]) -> dict[str, Path]:
    """The training runs in and below some folders, by the name of their folder.

    Args:
        paths: a run's folder, or one that contains some.
        notice: called with a line of text where two runs have the same name; the first by path counts.

    Raises:
        ResultError: a path is no folder, or there is no run in it.
    """
    found: dict[str, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ResultError(f"no folder {path}; --runs takes the folder of training runs, such as runs/")
        folders = sorted({file.parent for file in path.rglob(METRICS)})
        if not folders:
            raise ResultError(f"{path} holds no training run (no {METRICS}); gtr-bench train --out makes one")
        for folder in folders:
            name = folder.resolve().name
            first = found.setdefault(name, folder)
            if first.resolve() != folder.resolve():
                notice(f"{first} and {folder} are both called {name!r}; the curves are those of the first")
    return found


def read_metrics(run: Path, notice: Callable[[str], None]) -> list[dict[str, Any]]:
    """A run's records in the order of their steps; of a step that was done again, the last counts.

    Args:
        run: its folder.
        notice: called with a line of text where lines cannot be read; a last one that was cut short is none of these.
    """
    *whole, rest = (run / METRICS).read_text(encoding="utf-8", errors="replace").split("\n")
    records: dict[float, dict[str, Any]] = {}
    damaged = 0
    for line in [*whole, rest]:
        try:
            record = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError):
            damaged += line is not rest
            continue
        if isinstance(record, dict) and _is_number(record.get(STEP)):
            records[record[STEP]] = record
        elif line.strip():
            damaged += 1
    if damaged:
        notice(f"{run / METRICS}: {damaged} lines are no records and are left out")
    return [records[step] for step in sorted(records)]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def make_curve(title: str, steps: Sequence[float], values: Sequence[float], rate: bool) -> Curve:
    """A curve to draw.

    Args:
        title: what it shows.
        steps: the x values, rising.
        values: one a step; NaN where there is none.
        rate: whether the values are shares, drawn from 0 to 1.
    """
    across = Axis(steps[0], max(steps[-1], steps[0] + 1), ())
    up = RATE if rate else axis_for(values)
    known = [(step, value) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
    dots = [(f"{100 * across.place(x):.2f}", f"{100 * (1 - up.place(y)):.2f}") for x, y in known]
    texts = [f"{value:.1%}" if rate else f"{value:.4g}".replace("-", "−") for _, value in known]
    best = max(range(len(known)), key=lambda index: known[index][1])
    highest = f"highest {texts[best]} at step {number_text(known[best][0])}"
    ends = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    return Curve(
        title=title,
        lines=polylines(steps, values, across, up),
        dots=tuple(dots) if len(dots) <= MAX_DOTS else (),
        across=tuple(Tick(f"{100 * across.place(step):.2f}", number_text(step)) for step in ends),
        up=ticks(up, rate),
        summary=f"{texts[0]} at first, {texts[-1]} at last, {highest}",
    )


def learning_curves(run: Path, notice: Callable[[str], None]) -> list[Curve]:
    """The curves of a run; a figure that it did not log, or that stayed zero, has none.

    Args:
        run: its folder.
        notice: called with a line of text about what cannot be read.
    """
    records = read_metrics(run, notice)
    curves = []
    for key, title, rate in SHOWN:
        values = [float(record[key]) if _is_number(record.get(key)) else math.nan for record in records]
        known = [value for value in values if math.isfinite(value)]
        if known and (any(known) or key != "teacher_kl"):
            steps = [float(record[STEP]) for record in records]
            curves.append(make_curve(title, steps, values, rate))
    return curves
