"""Two agents on the episodes that both played: what differs, how sure that is, and what may be concluded.

Episodes are paired by environment, rules, games, split, evaluation seed and episode seed: both agents then had the same
hand or game before them, and most of the luck of the draw falls out of the comparison.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gtr_envs.episode import Episode
from gtr_envs.errors import ResultError
from leaderboard.pool import ground_key, grouped
from leaderboard.records import RunMeta
from leaderboard.sources import game_of
from leaderboard.stats import Interval, mcnemar, row_means, stratified_bootstrap
from leaderboard.summary import Result

LEVEL = 0.05
"""p-values below it count as a difference shown."""

CARDS = ("gtr/Points24", "gtr/EZPoints", "gtr/Blackjack")


@dataclass(frozen=True)
class Pair:
    """One episode that both agents played, and the settings of the first's evaluation."""

    meta: RunMeta
    first: Episode
    second: Episode

    @property
    def part(self) -> tuple[str, str, str]:
        """The environment, its rules and the split."""
        return (self.meta.env_id, self.meta.rules, self.meta.split)


@dataclass(frozen=True)
class Difference:
    """The second agent against the first on some pairs.

    Attributes:
        env_id, rules, split: which; several, joined, where they are pooled.
        n: pairs.
        first_success, second_success: their success rates.
        only_first, only_second: pairs that only one of them solved.
        success: the second's success rate minus the first's, with a bootstrap interval over the pairs of each seed.
        p_value: of the exact McNemar test of "neither is better".
        episode_return: the difference of the mean returns, likewise; None where environments are pooled whose returns
            are not of one kind.
    """

    env_id: str
    rules: str
    split: str
    n: int
    first_success: float
    second_success: float
    only_first: int
    only_second: int
    success: Interval
    p_value: float
    episode_return: Interval | None


@dataclass(frozen=True)
class Comparison:
    """Two agents compared.

    Attributes:
        first, second: what they are called.
        parts: one for each environment, rules and split that both played.
        pooled: all pairs together, a hand that two splits dealt counted once.
        conclusion: one sentence.
    """

    first: str
    second: str
    parts: tuple[Difference, ...]
    pooled: Difference
    conclusion: str


def place_of(meta: RunMeta) -> tuple[object, ...]:
    """What two evaluations must have in common for their episodes to be pairs."""
    return (*ground_key(meta), meta.seed)


def compare_results(first: Sequence[Result], second: Sequence[Result]) -> Comparison:
    """Compare two agents.

    Args:
        first: evaluations of one agent, finished or not.
        second: of the other.

    Raises:
        ResultError: they have no episode in common, or what has the same seed is not the same hand or game.
    """
    names = _names(first, second)
    found = pair_up(first, second, names)
    parts = tuple(_difference(pairs) for pairs in grouped(found, lambda pair: pair.part))
    pooled = parts[0] if len(parts) == 1 else _difference(_each_hand_once(found))
    return Comparison(*names, parts, pooled, conclude(*names, pooled))


def _names(first: Sequence[Result], second: Sequence[Result]) -> tuple[str, str]:
    """What the agents are called: their names, or their folders where the names are the same."""
    one, other = first[0].meta.agent, second[0].meta.agent
    return (one, other) if one != other else (str(first[0].folder), str(second[0].folder))


def pair_up(first: Sequence[Result], second: Sequence[Result], names: tuple[str, str]) -> list[Pair]:
    """The episodes that both played, in the order of the first's evaluations and of the seeds.

    Raises:
        ResultError: there is none, or two with the same seed began differently.
    """
    others = {place_of(result.meta): result for result in second}
    pairs = []
    for ours in sorted(first, key=lambda result: str(place_of(result.meta))):
        theirs = others.get(place_of(ours.meta))
        if theirs is None:
            continue
        by_seed = {episode.seed: episode for episode in theirs.episodes}
        for episode in ours.episodes:
            if episode.seed in by_seed:
                _check_same_start(ours, theirs, episode, by_seed[episode.seed])
                pairs.append(Pair(ours.meta, episode, by_seed[episode.seed]))
    if not pairs:
        raise ResultError(
            f"{names[0]} and {names[1]} have no episodes in common: {names[0]} has {_listed(first)}; {names[1]} has "
            f"{_listed(second)}; evaluate both with the same --env, options, --split and --seed"
        )
    return pairs


def _listed(results: Iterable[Result]) -> str:
    return ", ".join(
        f"{meta.env_id} split {meta.split} seed {meta.seed} ({meta.rules}{', ' + meta.games if meta.games else ''})"
        for meta in (result.meta for result in results)
    )


def _check_same_start(ours: Result, theirs: Result, one: Episode, other: Episode) -> None:
    """A crashed episode may not know how it began; two that know must agree."""
    if one.info and other.info and _start(one) != _start(other):
        raise ResultError(
            f"{ours.folder} and {theirs.folder}: seed {one.seed} is {_start(one)} in one and {_start(other)} in the "
            f"other, played with gtr-bench {ours.meta.version} and {theirs.meta.version}; evaluate both again with one "
            "version"
        )


def _start(episode: Episode) -> str:
    """What an episode began with, as text that is the same on every machine."""
    game = {"gamefile": game_of(episode.info["gamefile"])} if "gamefile" in episode.info else {}
    return json.dumps({**episode.info, **game}, sort_keys=True, default=str)


def _each_hand_once(pairs: Sequence[Pair]) -> list[Pair]:
    """Without the pairs whose seed dealt the same hand or game in another split: they are no further evidence."""
    kept: dict[tuple[object, ...], Pair] = {}
    for pair in pairs:
        start = _start(pair.first) if pair.first.info else pair.meta.split
        kept.setdefault((pair.meta.env_id, pair.meta.rules, pair.first.seed, start), pair)
    return list(kept.values())


def _difference(pairs: Sequence[Pair]) -> Difference:
    only_first = sum(pair.first.success and not pair.second.success for pair in pairs)
    only_second = sum(pair.second.success and not pair.first.success for pair in pairs)
    strata = grouped(pairs, lambda pair: (pair.part, pair.meta.seed))
    wins = [[float(p.second.success) - float(p.first.success) for p in stratum] for stratum in strata]
    gains = [[p.second.episode_return - p.first.episode_return for p in stratum] for stratum in strata]
    env_id, rules, split = ("+".join(dict.fromkeys(names)) for names in zip(*(p.part for p in pairs), strict=True))
    return Difference(
        env_id=env_id,
        rules=rules,
        split=split,
        n=len(pairs),
        first_success=sum(pair.first.success for pair in pairs) / len(pairs),
        second_success=sum(pair.second.success for pair in pairs) / len(pairs),
        only_first=only_first,
        only_second=only_second,
        success=stratified_bootstrap(wins, row_means),
        p_value=mcnemar(only_first, only_second),
        episode_return=stratified_bootstrap(gains, row_means) if len({pair.part[:2] for pair in pairs}) == 1 else None,
    )


def conclude(first: str, second: str, found: Difference) -> str:
    """What may be concluded of the success rates, in one sentence.

    The exact test decides, at 5%; the interval says how large the difference may be.
    """
    what = "hands" if found.env_id.startswith(CARDS) and "+" not in found.env_id else "episodes"
    shared = f"On {found.n} shared {what}"
    if found.only_first + found.only_second == 0:
        return f"{shared} {first} and {second} succeed on the same ones: no difference shown."
    better, worse, change = second, first, found.success
    if change.value < 0:
        better, worse = first, second
        change = replace(change, value=-change.value, low=-change.high, high=-change.low)
    span = "" if math.isnan(change.low) else f" [{100 * change.low:.1f}, {100 * change.high:.1f}]"
    told = f"p {p_text(found.p_value)}: " + (f"{better} is better" if found.p_value < LEVEL else "no difference shown")
    if change.value == 0:
        return f"{shared} {first} and {second} solve equally many, but not the same ones{span}; {told}."
    return f"{shared} {better} solves {100 * change.value:.1f} points more than {worse}{span}; {told}."


def p_text(value: float) -> str:
    """A p-value for reading, with its sign of relation."""
    return "< 0.001" if value < 0.001 else f"= {value:.2g}"
