"""The lines of the table: an agent on an environment and split, over all seeds it was evaluated with."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from gtr_envs.episode import Episode
from leaderboard.pool import pools
from leaderboard.stats import Interval, interquartile_mean, row_means, stratified_bootstraps
from leaderboard.summary import Result, SuccessRate
from leaderboard.wording import wording


@dataclass(frozen=True)
class Line:
    """One agent on one environment, rules and split.

    Attributes:
        results: its evaluations, one a seed, in the seeds' order.
        success: over all seeds' episodes, with Wilson's interval.
        episode_return: likewise, with a bootstrap interval that keeps seeds apart.
        return_iqm: the interquartile mean of the returns, likewise; None where there is one seed only.
    """

    results: tuple[Result, ...]
    success: SuccessRate
    episode_return: Interval
    return_iqm: Interval | None

    @property
    def agent(self) -> str:
        return self.results[0].meta.agent

    @property
    def env_id(self) -> str:
        return self.results[0].meta.env_id

    @property
    def rules(self) -> str:
        return self.results[0].meta.rules

    @property
    def split(self) -> str:
        return self.results[0].meta.split

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(result.meta.seed for result in self.results)

    @property
    def episodes(self) -> list[Episode]:
        return [episode for result in self.results for episode in result.episodes]

    def of_turns(self, count: str) -> float:
        """A share of all turns: of ``n_illegal``, ``n_invalid`` or ``n_repaired``, as an episode calls them."""
        return self._mean(count, per_turn=True)

    def an_episode(self, count: str) -> float:
        """The mean of a count over episodes, such as ``steps``."""
        return self._mean(count, per_turn=False)

    def _mean(self, count: str, per_turn: bool) -> float:
        episodes = self.episodes
        whole = sum(episode.steps for episode in episodes) if per_turn else len(episodes)
        return sum(getattr(episode, count) for episode in episodes) / whole if whole else math.nan


def _line(results: Sequence[Result]) -> Line:
    if len(results) == 1:
        summary = results[0].summary
        return Line(tuple(results), summary.success, summary.episode_return, None)
    # The same figures as pool.pool_results gives, without those that are not shown here.
    returns = [[episode.episode_return for episode in result.episodes] for result in results]
    success = SuccessRate.of([episode for result in results for episode in result.episodes])
    means, iqm = stratified_bootstraps(returns, (row_means, interquartile_mean))
    return Line(tuple(results), success, means, iqm)


def split_order(env_id: str, split: str) -> tuple[int, str]:
    """Where a split stands among an environment's: the one that agents are ranked by first, unknown ones last."""
    ranking = wording(env_id).ranking
    return (ranking.index(split) if split in ranking else len(ranking), split)


def make_lines(results: Sequence[Result]) -> list[Line]:
    """The table's lines: environment by environment, split by split, the best agent first.

    Args:
        results: finished evaluations, in any order.
    """

    def place(line: Line) -> tuple[object, ...]:
        rate = line.success.rate.value
        first = -rate if math.isfinite(rate) else math.inf
        temperature = line.results[0].meta.temperature
        fingerprint = line.results[0].meta.fingerprint or ""
        order = split_order(line.env_id, line.split)
        heat = -1.0 if temperature is None else temperature
        return (line.env_id, line.rules, order, first, line.agent, heat, line.seeds, fingerprint)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:  # numpy lets go of the interpreter while it draws
        return sorted(threads.map(_line, pools(results)), key=place)
