"""One agent over several evaluation seeds: the pooled figures, with intervals that respect which seed gave what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gtr_envs.errors import ResultError
from leaderboard.records import RunMeta
from leaderboard.stats import Interval, interquartile_mean, row_means, stratified_bootstrap, stratified_bootstraps
from leaderboard.summary import Result, SuccessRate


@dataclass(frozen=True)
class Pooled:
    """The figures of one agent on one environment, split and rules, over all seeds it was evaluated with.

    Attributes:
        seeds: the evaluation seeds, in order.
        n_episodes, n_solvable: as in a summary, over all seeds.
        success: over all episodes of all seeds, with Wilson's interval.
        success_solvable: over the hands that have a solution; None where there is no such thing.
        success_by_seed: of each seed.
        success_mean: the same rate with the interval of a bootstrap that resamples the episodes of each seed.
        episode_return: mean return with the interval of that bootstrap.
        return_iqm: interquartile mean of the episodes' returns (a quarter of them cut off at either end), likewise.
    """

    seeds: tuple[int, ...]
    n_episodes: int
    n_solvable: int | None
    success: SuccessRate
    success_solvable: SuccessRate | None
    success_by_seed: Mapping[int, SuccessRate]
    success_mean: Interval
    episode_return: Interval
    return_iqm: Interval


def pool_key(meta: RunMeta) -> tuple[object, ...]:
    """What evaluations must have in common to be pooled: everything but the seed and the number of episodes."""
    agent = (meta.agent, meta.method, meta.base_model, meta.fingerprint, meta.temperature)
    return (*agent, meta.env_id, meta.rules, meta.split, meta.games)


def pool_results(results: Sequence[Result]) -> Pooled:
    """Pool one agent's evaluations with several seeds.

    Args:
        results: evaluations that differ in their seed alone, in any order; one is enough.

    Raises:
        ResultError: there are none, they differ in more than the seed, or a seed is there twice.
    """
    if not results:
        raise ResultError("no evaluations to pool")
    ordered = sorted(results, key=lambda result: result.meta.seed)
    for one, other in pairwise(ordered):
        if pool_key(one.meta) != pool_key(other.meta):
            raise ResultError(f"{one.folder} and {other.folder} differ in more than the seed and cannot be pooled")
        if one.meta.seed == other.meta.seed:
            raise ResultError(f"{one.folder} and {other.folder} hold the same seed {one.meta.seed}; leave one out")
    episodes = [episode for result in ordered for episode in result.episodes]
    solvable = [result.summary.n_solvable for result in ordered if result.summary.n_solvable is not None]
    returns = [[episode.episode_return for episode in result.episodes] for result in ordered]
    wins = [[float(episode.success) for episode in result.episodes] for result in ordered]
    mean, iqm = stratified_bootstraps(returns, (row_means, interquartile_mean))
    return Pooled(
        seeds=tuple(result.meta.seed for result in ordered),
        n_episodes=len(episodes),
        n_solvable=sum(solvable) if solvable else None,
        success=SuccessRate.of(episodes),
        success_solvable=SuccessRate.of_solvable(episodes),
        success_by_seed={result.meta.seed: result.summary.success for result in ordered},
        success_mean=stratified_bootstrap(wins, row_means),
        episode_return=mean,
        return_iqm=iqm,
    )


def pools(results: Sequence[Result]) -> list[list[Result]]:
    """The evaluations that belong together, each group sorted by seed, groups in the order of their first result."""
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(pool_key(result.meta), []).append(result)
    return [sorted(group, key=lambda result: result.meta.seed) for group in groups.values()]
