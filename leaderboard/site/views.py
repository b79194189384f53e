"""What the templates are given: figures as texts, and drawings as positions. Nothing here is HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gtr_envs.episode import Episode
from leaderboard.failures import Failure, count_failures
from leaderboard.pool import Pool, split_order
from leaderboard.records import RunMeta
from leaderboard.site.drawing import RATE, Axis, axis_for, mark, percent_of, ticks
from leaderboard.standings import sampling
from leaderboard.stats import Interval
from leaderboard.summary import SuccessRate
from leaderboard.table import Row
from leaderboard.wording import wording

UNKNOWN = "–"


def number_of(value: float | None, digits: int = 2) -> str:
    """A number for reading, with a true minus; a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def share_of(value: float | None) -> str:
    """A share for reading, such as ``3.1%``."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.1%}"


def sort_key(value: float | int | None) -> str:
    """A number as the script sorts it; empty where it is not known, which is sorted last."""
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


@dataclass(frozen=True)
class Cell:
    """One figure of a table: its text, its interval in words and as a drawing, and what it is sorted by."""

    text: str
    sort: str
    interval: str = ""
    mark: Any = None


def rate_cell(rate: Interval) -> Cell:
    """A success rate."""
    known = math.isfinite(rate.low)
    bounds = f"{100 * rate.low:.1f} to {100 * rate.high:.1f}" if known else ""
    return Cell(share_of(rate.value), sort_key(rate.value), bounds, mark(rate, RATE))


def mean_cell(mean: Interval, axis: Axis | None) -> Cell:
    """A mean return, drawn on the axis of its environment."""
    bounds = f"{number_of(mean.low)} to {number_of(mean.high)}" if math.isfinite(mean.low) else ""
    return Cell(number_of(mean.value), sort_key(mean.value), bounds, mark(mean, axis) if axis else None)


def return_axes(lines: Sequence[Pool]) -> dict[tuple[str, str], Axis]:
    """The axis of returns of each environment and its rules, wide enough for all intervals on it."""
    values: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        found = line.episode_return
        values.setdefault((line.meta.env_id, line.meta.rules), []).extend((found.value, found.low, found.high))
    return {key: axis_for(known) for key, known in values.items()}


def split_title(env_id: str, split: str) -> str:
    """A split's name, with what it is called in words where that differs."""
    title = wording(env_id).title(split)
    return split if title == split else f"{split} ({title[:1].lower()}{title[1:]})"


def seeds_text(seeds: Sequence[int]) -> str:
    """Evaluation seeds for reading."""
    return ("seed " if len(seeds) == 1 else "seeds ") + ", ".join(map(str, seeds))


def about(meta: RunMeta) -> str:
    """How an agent was made and samples, in a line."""
    method = "" if meta.method == meta.agent else meta.method
    how = "" if meta.temperature is None else sampling(meta.temperature).replace(" ", "\u00a0")
    return " · ".join(filter(None, (method, meta.base_model or "", how)))


def figure_cells(pool: Pool) -> dict[str, Cell]:
    """How an agent plays: shares in percent, and means."""
    shares = ("illegal", "invalid", "repaired")
    return {
        name: Cell(share_of(value) if name in shares else number_of(value, 1), sort_key(value))
        for name, value in pool.figures.items()
    }


def line_view(line: Pool, link: str, axis: Axis) -> dict[str, Any]:
    """A line of the table of measured results.

    Args:
        line: the figures.
        link: of the agent's page.
        axis: of returns.
    """
    return {
        "agent": line.meta.agent,
        "link": link,
        "about": about(line.meta),
        "env": line.meta.env_id,
        "rules": "" if line.meta.rules == "strict" else line.meta.rules,
        "split": line.meta.split,
        "split_order": split_order(line.meta.env_id, line.meta.split)[0],
        "seeds": seeds_text(line.seeds),
        "episodes": line.success.n,
        "success": rate_cell(line.success.rate),
        "return": mean_cell(line.episode_return, axis),
        "figures": list(figure_cells(line).items()),
    }


def reported_view(row: Row) -> dict[str, Any]:
    """A line of the table of reported numbers."""
    return {
        "agent": row.agent,
        "method": row.method,
        "base_model": row.base_model or "",
        "env": row.env_id,
        "rules": row.rules,
        "split": row.split,
        "success": Cell(share_of(row.success_rate), sort_key(row.success_rate)),
        "return": Cell(number_of(row.return_mean), sort_key(row.return_mean)),
        "reference": row.reference or "",
    }


def plot_views(lines: Sequence[Pool], links: Mapping[str, str]) -> list[dict[str, Any]]:
    """A plot for each environment, rules and split: each agent's success and return with their intervals.

    Args:
        lines: in the table's order.
        links: each agent's page.
    """
    axes = return_axes(lines)
    groups: dict[tuple[str, str, str], list[Pool]] = {}
    for line in lines:
        groups.setdefault((line.meta.env_id, line.meta.rules, line.meta.split), []).append(line)
    return [
        {
            "env": env_id,
            "rules": "" if rules == "strict" else rules,
            "split": split,
            "title": split_title(env_id, split),
            "rate_ticks": ticks(RATE, rate=True),
            "return_ticks": ticks(axes[env_id, rules]),
            "rows": [
                {
                    "agent": line.meta.agent,
                    "link": links[line.meta.agent],
                    "about": about(line.meta),
                    "success": rate_cell(line.success.rate),
                    "return": mean_cell(line.episode_return, axes[env_id, rules]),
                }
                for line in group
            ],
        }
        for (env_id, rules, split), group in groups.items()
    ]


def failures_view(env_id: str, episodes: Sequence[Episode]) -> dict[str, Any]:
    """How episodes ended: the parts of a bar, with what they are called, how many and their share."""
    solved = sum(episode.success for episode in episodes)
    words = wording(env_id)
    kinds = [("solved", "solved", solved)]
    kinds += [(kind.value, words.failure(kind), count) for kind, count in count_failures(episodes).items()]
    shown = [kind for kind in kinds if kind[2] or kind[0] == "solved" or kind[0] == Failure.WRONG.value]
    parts, start = [], 0
    for name, text, count in shown:
        whole = max(1, len(episodes))
        place = {"at": percent_of(start / whole), "width": percent_of(count / whole)}
        parts.append({"kind": name, "text": text, "count": count, "share": share_of(count / whole), **place})
        start += count
    return {"n": len(episodes), "parts": parts}


def tasks_view(episodes_by_task: Mapping[str, SuccessRate]) -> list[tuple[str, int, Cell]]:
    """Success by task type: its name, episodes, rate."""
    return [(task, rate.n, rate_cell(rate.rate)) for task, rate in episodes_by_task.items()]
