"""The leaderboard for people: one line an agent, success on trained and on held-out multisets side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtr_envs.episode import Episode
from leaderboard.stats import Interval, PairedComparison, bootstrap_mean, compare_paired
from leaderboard.summary import Result, SuccessRate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Standing:
    """One agent on one environment, over all seeds it was evaluated with.

    Attributes:
        agent, method, env_id, rules, temperature: as in the leaderboard.
        overall: success on hands as they come; None if the agent was never evaluated with ``split="all"``.
        train: success on multisets that training may use, None if not known.
        test: success on held-out multisets, None if not known.
        episode_return: mean return of the hands in ``return_split``.
        return_split: ``all`` where there are such hands, else the splits that there are.
    """

    agent: str
    method: str
    env_id: str
    rules: str
    temperature: float | None
    overall: SuccessRate | None
    train: SuccessRate | None
    test: SuccessRate | None
    episode_return: Interval
    return_split: str


def _episodes(results: Sequence[Result], split: str) -> list[Episode]:
    return [episode for result in results if result.meta.split == split for episode in result.episodes]


def _side(results: Sequence[Result], side: str) -> SuccessRate | None:
    """Success on one side of the split: from the evaluation of that side, else from those hands of the mixed one.

    The two are never pooled: with the same seed they may hold the same hand twice.
    """
    episodes = _episodes(results, side)
    episodes = episodes or [e for e in _episodes(results, "all") if e.info.get("hand_split") == side]
    return SuccessRate.of(episodes) if episodes else None


def _standing(results: Sequence[Result]) -> Standing:
    meta = results[0].meta
    mixed = _episodes(results, "all")
    splits = ["all"] if mixed else sorted({result.meta.split for result in results})
    returns = [episode.episode_return for split in splits for episode in _episodes(results, split)]
    return Standing(
        agent=meta.agent,
        method=meta.method,
        env_id=meta.env_id,
        rules=meta.rules,
        temperature=meta.temperature,
        overall=SuccessRate.of(mixed) if mixed else None,
        train=_side(results, "train"),
        test=_side(results, "test"),
        episode_return=bootstrap_mean(returns),
        return_split="+".join(splits),
    )


def standings(results: Sequence[Result]) -> list[Standing]:
    """One line an agent, environment and rules; the best first.

    Args:
        results: evaluations, finished or not; those of one agent with different seeds are pooled.
    """
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.meta.split, result.meta.seed)):
        meta = result.meta
        key = (meta.env_id, meta.rules, meta.agent, meta.method, meta.temperature, meta.fingerprint)
        groups.setdefault(key, []).append(result)

    def rate(success: SuccessRate | None) -> float:
        return -math.inf if success is None else success.rate.value

    lines = [_standing(group) for group in groups.values()]
    return sorted(
        lines,
        key=lambda line: (
            line.env_id,
            line.rules,
            -rate(line.overall),
            -rate(line.test),
            -rate(line.train),
            line.agent,
        ),
    )


def percent(success: SuccessRate | None, gap: str = " ") -> str:
    """A success rate for reading, such as ``53.5% of 200 [46.6, 60.3]``; a dash where it is not known.

    Args:
        success: the rate.
        gap: what stands before the interval; a line end makes a narrow cell.
    """
    if success is None or success.n == 0:
        return "–"
    rate = success.rate
    return f"{100 * rate.value:.1f}% of {success.n}{gap}[{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def number(interval: Interval, gap: str = " ") -> str:
    """A mean for reading, such as ``-3.21 [-4.00, -2.42]``; a dash where it is not known."""
    if math.isnan(interval.value):
        return "–"
    bounds = "" if math.isnan(interval.low) else f"{gap}[{interval.low:.2f}, {interval.high:.2f}]"
    return f"{interval.value:.2f}{bounds}"


def sampling(temperature: float | None) -> str:
    """How an agent samples, for reading."""
    if temperature is None:
        return "–"
    return "greedy" if temperature == 0 else f"T = {temperature:g}"


def standings_table(lines: Sequence[Standing], title: str | None = None) -> Table:
    """The standings as a table for the terminal, narrow enough for 80 columns with agents' names of usual length."""
    from rich import box
    from rich.table import Table

    caption = (
        "[ ]: 95% intervals, Wilson's for success, bootstrap for return\n"
        "trained, held-out: multisets of card values that training may use, never uses"
    )
    table = Table(
        title=title, caption=caption, box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, collapse_padding=True
    )
    table.add_column("agent", overflow="fold")
    mixed = len({(line.env_id, line.rules) for line in lines}) > 1
    if mixed:
        table.add_column("environment")
    several = len({line.temperature for line in lines} - {None}) > 1
    for column in ("success,\ntrained", "success,\nheld-out", "success,\nall hands", "return"):
        table.add_column(column, justify="right", no_wrap=True)
    if several:
        table.add_column("sampling")
    for line in lines:
        place = [f"{line.env_id} {line.rules}"] if mixed else []
        returns = number(line.episode_return, "\n") + ("" if line.return_split == "all" else f"\n({line.return_split})")
        rates = [percent(success, "\n") for success in (line.train, line.test, line.overall)]
        table.add_row(line.agent, *place, *rates, returns, *([sampling(line.temperature)] if several else []))
    return table


def compare(first: Result, second: Result) -> PairedComparison:
    """Compare two agents on the hands that both played (same environment, options and seed).

    Raises:
        ValueError: they did not play the same hands.
    """
    keys = [(r.meta.env_id, dict(r.meta.env_kwargs), r.meta.seed) for r in (first, second)]
    if keys[0] != keys[1]:
        raise ValueError(
            f"{first.folder} and {second.folder} hold different hands; evaluate both with the same options"
        )
    ours = {episode.seed: episode.success for episode in first.episodes}
    theirs = {episode.seed: episode.success for episode in second.episodes}
    both = sorted(ours.keys() & theirs.keys())
    return compare_paired([ours[seed] for seed in both], [theirs[seed] for seed in both])


def result_lines(result: Result) -> list[tuple[str, str]]:
    """What one evaluation found, as (what, figure) pairs for the terminal."""
    summary = result.summary
    lines = [
        ("success", percent(summary.success)),
        ("on trained multisets", percent(summary.success_train)),
        ("on held-out multisets", percent(summary.success_test)),
        ("episode return", number(summary.episode_return)),
        ("ends", f"{summary.terminated} terminated, {summary.truncated} truncated, {summary.crashed} crashed"),
        ("turns an episode", f"{summary.steps_mean:.1f}"),
        ("illegal actions", f"{summary.illegal_rate:.1%} of turns"),
        ("answers", f"{summary.invalid_answer_rate:.1%} invalid, {summary.repaired_rate:.1%} repaired"),
    ]
    if summary.card_reading:
        lines.append(("cards read", f"{summary.card_reading.accuracy:.1%} in {summary.card_reading.turns} answers"))
    if summary.tokens_out:
        lines.append(("thought tokens a turn", f"{summary.thought_tokens_mean:.1f}"))
    if summary.wall_s is not None:
        lines.append(("seconds", f"{summary.wall_s:.1f}"))
    return lines


def print_result(console: Console, result: Result) -> None:
    """Print what one evaluation found."""
    from rich.table import Table

    meta = result.meta
    grid = Table.grid(padding=(0, 2))
    for what, figure in result_lines(result):
        grid.add_row(what, figure)
    console.print(
        f"\n{meta.agent} on {meta.env_id}, split {meta.split}, {meta.rules} rules, seed {meta.seed}", style="bold"
    )
    console.print(grid)
    console.print(f"episodes and summary: {result.folder}", soft_wrap=True, highlight=False)
