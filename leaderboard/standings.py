"""The leaderboard for people: a table for each environment, one line an agent, its splits side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gtr_envs.episode import Episode
from leaderboard.options import WHOLE
from leaderboard.pool import agent_key, grouped, place, resampled
from leaderboard.records import RunMeta
from leaderboard.stats import Interval, row_means
from leaderboard.summary import Result, SuccessRate, Summary
from leaderboard.wording import DEFAULT_ENV, wording

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Standing:
    """One agent on one environment, over all splits and seeds it was evaluated with.

    Attributes:
        meta: the settings of its first evaluation.
        rates: success by split; a split that is not known is not there.
        episode_return: mean return of the episodes in ``return_split``; resampled within seeds.
        return_split: the split that agents are ranked by first, where it was played, else those that were.
    """

    meta: RunMeta
    rates: Mapping[str, SuccessRate]
    episode_return: Interval
    return_split: str


def _standing(results: Sequence[Result]) -> Standing:
    meta = results[0].meta
    ranking = wording(meta.env_id).ranking
    played: dict[str, list[Episode]] = {}
    for result in results:
        played.setdefault(result.meta.split, []).extend(result.episodes)
    # A side that was not played by itself is known from the mixed hands. Where it was, the two are never pooled: with
    # the same seed they may hold the same hand twice.
    sides = {side: [e for e in played.get(WHOLE, ()) if e.info.get("hand_split") == side] for side in ranking}
    splits = [ranking[0]] if ranking[0] in played else list(played)
    return Standing(
        meta,
        rates={split: SuccessRate.of(episodes) for split, episodes in {**sides, **played}.items() if episodes},
        episode_return=resampled((r for r in results if r.meta.split in splits), "episode_return", row_means),
        return_split="+".join(splits),
    )


def standings(results: Sequence[Result]) -> list[Standing]:
    """One line an agent, environment and rules; of each environment the best first.

    Args:
        results: finished evaluations; those of one agent with different seeds are pooled.
    """
    ordered = sorted(results, key=lambda result: (result.meta.split, result.meta.seed))
    groups = grouped(ordered, lambda result: (*agent_key(result.meta), result.meta.env_id, result.meta.rules))

    def key(line: Standing) -> tuple[object, ...]:
        rates = [line.rates.get(split) for split in wording(line.meta.env_id).ranking]
        return place(line.meta, *(math.inf if rate is None else -rate.rate.value for rate in rates))

    return sorted(map(_standing, groups), key=key)


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


def share(part: float) -> str:
    """A share for reading, such as ``3.1%``; a dash where it is not known."""
    return "–" if math.isnan(part) else f"{part:.1%}"


def standings_tables(lines: Sequence[Standing]) -> list[Table]:
    """The standings for the terminal, a table for each environment; the usual one alone needs no title."""
    groups = grouped(lines, lambda line: line.meta.env_id)
    if [group[0].meta.env_id for group in groups] == [DEFAULT_ENV]:
        return [standings_table(lines)]
    return [standings_table(group, _title(group)) for group in groups]


def _title(lines: Sequence[Standing]) -> str:
    """An environment, and its rules where they are the same in all lines and not the plain ones."""
    env_id, rules = lines[0].meta.env_id, lines[0].meta.rules
    alike = all(line.meta.rules == rules for line in lines)
    return f"{env_id}, {rules} rules" if alike and rules != "strict" else env_id


def standings_table(lines: Sequence[Standing], title: str | None = None) -> Table:
    """The standings on one environment, narrow enough for 80 columns with agents' names of usual length."""
    from rich import box
    from rich.table import Table

    words = wording(lines[0].meta.env_id)
    intervals = "[ ]: 95% intervals, Wilson's for success, bootstrap for return"
    caption = f"{intervals}\n{words.explained}" if words.explained else intervals
    table = Table(
        title=title, caption=caption, box=box.SIMPLE_HEAD, show_lines=True, pad_edge=False, collapse_padding=True
    )
    table.add_column("agent", overflow="fold")
    mixed = len({line.meta.rules for line in lines}) > 1
    if mixed:
        table.add_column("rules" if title else "environment", overflow="fold" if title else "ellipsis")
    several = len({line.meta.temperature for line in lines} - {None}) > 1
    splits = columns(lines)
    for column in (*map(words.heading, splits), "return"):
        table.add_column(column, justify="right", no_wrap=True)
    if several:
        table.add_column("sampling")
    for line in lines:
        place = [line.meta.rules if title else f"{line.meta.env_id} {line.meta.rules}"] if mixed else []
        returns = number(line.episode_return, "\n") + ("" if line.return_split == "all" else f"\n({line.return_split})")
        rates = [percent(line.rates.get(split), "\n") for split in splits]
        table.add_row(line.meta.agent, *place, *rates, returns, *([sampling(line.meta.temperature)] if several else []))
    return table


def columns(lines: Sequence[Standing]) -> list[str]:
    """The splits that the table of an environment shows: its usual ones, and whatever else was played."""
    usual = [split for split, _ in wording(lines[0].meta.env_id).columns]
    return [*usual, *sorted({split for line in lines for split in line.rates} - set(usual))]


def result_lines(result: Result) -> list[tuple[str, str]]:
    """What one evaluation found, as (what, figure) pairs for the terminal."""
    summary = result.summary
    by_side = {"train": summary.success_train, "test": summary.success_test}
    lines = [
        ("success", percent(summary.success)),
        *_on_solvable(summary),
        *((words, percent(by_side[side])) for side, words in wording(result.meta.env_id).sides),
        *((f"on {task}", percent(success)) for task, success in summary.success_by_task.items()),
        ("episode return", number(summary.episode_return)),
        ("ends", f"{summary.terminated} terminated, {summary.truncated} truncated, {summary.crashed} crashed"),
    ]
    if summary.first_crash is not None:
        lines.append(("first crash", summary.first_crash))
    lines += [
        ("turns an episode", "–" if math.isnan(summary.steps_mean) else f"{summary.steps_mean:.1f}"),
        ("illegal actions", _of_turns(summary.illegal_rate)),
        ("answers", f"{share(summary.invalid_answer_rate)} invalid, {share(summary.repaired_rate)} repaired"),
    ]
    if summary.card_reading:
        lines.append(("cards read", f"{summary.card_reading.accuracy:.1%} in {summary.card_reading.turns} answers"))
    if summary.tokens_out:
        lines.append(("thought tokens a turn", f"{summary.thought_tokens_mean:.1f}"))
    if summary.wall_s is not None:
        lines.append(("seconds", f"{summary.wall_s:.1f}"))
    return lines


def _on_solvable(summary: Summary) -> list[tuple[str, str]]:
    """Success on the hands that have a solution, where others were dealt too."""
    if summary.success_solvable is None or summary.n_solvable == summary.n_episodes:
        return []
    return [("on solvable hands", percent(summary.success_solvable))]


def _of_turns(part: float) -> str:
    return share(part) + ("" if math.isnan(part) else " of turns")


def print_result(console: Console, result: Result) -> None:
    """Print what one evaluation found."""
    from rich.table import Table
    from rich.text import Text

    meta = result.meta
    grid = Table.grid(padding=(0, 2))
    for what, figure in result_lines(result):
        grid.add_row(what, Text(figure))  # an error's text must not be read as markup
    console.print(
        f"\n{meta.agent} on {meta.env_id}, split {meta.split}, {meta.rules} rules, seed {meta.seed}", style="bold"
    )
    console.print(grid)
    console.print(f"episodes and summary: {result.folder}", soft_wrap=True, highlight=False)
