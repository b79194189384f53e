"""What evaluations belong together, the figures over their seeds, and the order in which they are ranked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from gtr_envs.episode import Episode
from gtr_envs.errors import ResultError
from leaderboard.records import RunMeta
from leaderboard.stats import Interval, interquartile_mean, row_means, stratified_bootstrap
from leaderboard.summary import Result, SuccessRate, ratio
from leaderboard.wording import wording

T = TypeVar("T")
Statistic = Callable[[np.ndarray], np.ndarray]


def agent_key(meta: RunMeta) -> tuple[object, ...]:
    """What tells agents apart."""
    return (meta.agent, meta.method, meta.base_model, meta.fingerprint, meta.temperature)


def ground_key(meta: RunMeta) -> tuple[object, ...]:
    """What tells apart where agents play: with the same seed, they have the same hands or games before them."""
    return (meta.env_id, meta.rules, meta.games, meta.split)


def grouped(items: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """The items that share a key, groups in the order of their first items."""
    groups: dict[Hashable, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.values())


def resampled(results: Iterable[Result], what: str, statistic: Statistic) -> Interval:
    """A statistic of what episodes hold, with the interval of a bootstrap that resamples each evaluation's."""
    return stratified_bootstrap([[getattr(e, what) for e in result.episodes] for result in results], statistic)


@dataclass(frozen=True)
class Pool:
    """One agent on one environment, rules and split, over all seeds it was evaluated with.

    Attributes:
        results: its evaluations, one a seed, in the seeds' order.
    """

    results: tuple[Result, ...]
    _drawn: dict[tuple[str, Statistic], Interval] = field(default_factory=dict, compare=False, repr=False)

    @property
    def meta(self) -> RunMeta:
        """The settings of the first; what tells agents and grounds apart is the same in all."""
        return self.results[0].meta

    @property
    def seeds(self) -> tuple[int, ...]:
        """The evaluation seeds."""
        return tuple(result.meta.seed for result in self.results)

    @property
    def episodes(self) -> list[Episode]:
        """Those of all seeds."""
        return [episode for result in self.results for episode in result.episodes]

    @cached_property
    def success(self) -> SuccessRate:
        """Over all episodes, with Wilson's interval."""
        return SuccessRate.of(self.episodes)

    @property
    def success_mean(self) -> Interval:
        """The same rate with the interval of a bootstrap that resamples the episodes of each seed."""
        return self._resampled("success", row_means)

    @property
    def episode_return(self) -> Interval:
        """The mean return with the interval of that bootstrap."""
        one_seed = len(self.results) == 1
        return self.results[0].summary.episode_return if one_seed else self._resampled("episode_return", row_means)

    @property
    def return_iqm(self) -> Interval:
        """The interquartile mean of the returns (a quarter of them cut off at either end), likewise."""
        return self._resampled("episode_return", interquartile_mean)

    def _resampled(self, what: str, statistic: Statistic) -> Interval:
        if (what, statistic) not in self._drawn:  # a cached_property of Python 3.11 would keep other threads waiting
            self._drawn[what, statistic] = resampled(self.results, what, statistic)
        return self._drawn[what, statistic]

    @cached_property
    def figures(self) -> dict[str, float]:
        """Shares of all turns (illegal, invalid, repaired), turns an episode, and thought tokens a turn."""
        episodes, turns = self.episodes, sum(episode.steps for episode in self.episodes)

        def of_turns(what: str) -> float:
            return ratio(sum(getattr(episode, what) for episode in episodes), turns)

        return {
            "illegal": of_turns("n_illegal"),
            "invalid": of_turns("n_invalid"),
            "repaired": of_turns("n_repaired"),
            "steps": ratio(turns, len(episodes)),
            "tokens": of_turns("thought_tokens"),
        }

    def to_json(self) -> dict[str, Any]:
        """The figures over all seeds, for machines."""
        solvable = SuccessRate.of_solvable(self.episodes)
        return {
            "seeds": self.seeds,
            "n_episodes": self.success.n,
            "n_solvable": solvable and solvable.n,
            "success": asdict(self.success),
            "success_solvable": solvable and asdict(solvable),
            "success_by_seed": {result.meta.seed: asdict(result.summary.success) for result in self.results},
            "success_mean": asdict(self.success_mean),
            "episode_return": asdict(self.episode_return),
            "return_iqm": asdict(self.return_iqm),
        }


def pools(results: Iterable[Result]) -> list[Pool]:
    """The evaluations that differ in their seed alone, and in how many episodes they have.

    Raises:
        ResultError: a seed is there twice.
    """
    ordered = sorted(results, key=lambda result: result.meta.seed)
    found = grouped(ordered, lambda result: (*agent_key(result.meta), *ground_key(result.meta)))
    for one, other in (pair for group in found for pair in pairwise(group)):
        if one.meta.seed == other.meta.seed:
            raise ResultError(f"{one.folder} and {other.folder} hold the same seed {one.meta.seed}; leave one out")
    return [Pool(tuple(group)) for group in found]


def split_order(env_id: str, split: str, known: Sequence[str] = ()) -> tuple[int, str]:
    """Where a split stands among an environment's: the one that agents are ranked by first, unknown ones last."""
    known = known or wording(env_id).ranking
    return (known.index(split) if split in known else len(known), split)


def place(meta: RunMeta, *ranks: object) -> tuple[object, ...]:
    """What the leaderboard's lines are sorted by: environment, rules, what ranks agents, and then their names."""
    return (meta.env_id, meta.rules, *ranks, meta.agent, meta.seed)


def ranked(results: Iterable[Result], splits: Sequence[str] = ()) -> list[Pool]:
    """The leaderboard's lines: environment by environment, split by split, the best agent first.

    Args:
        results: finished evaluations, in any order.
        splits: their order; that of each environment if there are none.
    """

    def key(pool: Pool) -> tuple[object, ...]:
        return place(pool.meta, split_order(pool.meta.env_id, pool.meta.split, splits), -pool.success.rate.value)

    return sorted(pools(results), key=key)
