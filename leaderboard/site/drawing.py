"""Where marks stand in a drawing: axes, intervals and curves as positions in percent of its width and height.

The templates draw them as SVG in percent too, so that a drawing is as wide as there is room for and its text, which is
plain HTML beside it, keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leaderboard.stats import Interval

TICK_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def percent_of(value: float) -> str:
    """A position in percent, with two digits and no minus before a zero."""
    return f"{round(100 * value, 2) + 0.0:.2f}"


@dataclass(frozen=True)
class Axis:
    """A range of values with a few round ones in it."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value stands, 0 at the low end and 1 at the high one; a value outside stands at the end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


RATE = Axis(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))


def axis_for(values: Iterable[float], n_ticks: int = 4) -> Axis:
    """An axis of round bounds around some values.

    Args:
        values: what must fit on it; values that are not finite are left out.
        n_ticks: about how many steps there are to be.
    """
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if high - low < 1e-9:
        margin = max(1.0, abs(low) * 0.1)
        low, high = low - margin, high + margin
    rough = (high - low) / n_ticks
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in TICK_STEPS if factor * scale >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 10) + 0.0 for index in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


@dataclass(frozen=True)
class Mark:
    """An estimate and its interval on an axis, in percent; the bounds are None where they are not known."""

    value: str
    low: str | None
    high: str | None


def mark(interval: Interval, axis: Axis) -> Mark | None:
    """Where an estimate and its bounds stand; None where there is no estimate."""
    if not math.isfinite(interval.value):
        return None
    low, high = (
        percent_of(axis.place(bound)) if math.isfinite(bound) else None for bound in (interval.low, interval.high)
    )
    return Mark(percent_of(axis.place(interval.value)), low, high)


@dataclass(frozen=True)
class Tick:
    """A round value of an axis: where it stands in percent, and its text."""

    at: str
    text: str


def number_text(value: float) -> str:
    """A tick's number, with a true minus."""
    return f"{value:.6g}".replace("-", "−")


def ticks(axis: Axis, rate: bool = False) -> tuple[Tick, ...]:
    """An axis's ticks; those of rates are in percent."""
    return tuple(
        Tick(percent_of(axis.place(value)), f"{100 * value:.6g}%" if rate else number_text(value))
        for value in axis.ticks
    )


def polylines(xs: Sequence[float], ys: Sequence[float], across: Axis, up: Axis) -> tuple[str, ...]:
    """A curve as SVG's ``points`` in a box of 100 by 100, y downwards; a value that is not finite breaks it."""
    lines: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(y):
            lines[-1].append(f"{percent_of(across.place(x))},{percent_of(1.0 - up.place(y))}")
        elif lines[-1]:
            lines.append([])
    return tuple(" ".join(line) for line in lines if line)
