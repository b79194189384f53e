"""Several seeds pooled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from leaderboard.evaluations import pooled_lines
from leaderboard.pool import pool_results, pools
from leaderboard.standings import standings

from .conftest import Evaluate


def test_seeds_are_pooled(evaluation: Evaluate) -> None:
    options = {"hands": "all"}
    two = [evaluation(SolverPolicy(), seed=seed, n_episodes=12, options=options) for seed in (1, 0)]
    pooled = pool_results(two)
    solvable = sum(result.summary.n_solvable or 0 for result in two)
    assert (pooled.seeds, pooled.n_episodes, pooled.n_solvable) == ((0, 1), 24, solvable)
    assert 0 < solvable < 24
    assert pooled.success_solvable is not None
    assert (pooled.success.successes, pooled.success_solvable.rate.value) == (solvable, 1.0)
    assert pooled.success_by_seed == {result.meta.seed: result.summary.success for result in two}
    returns = [episode.episode_return for result in two for episode in result.episodes]
    assert pooled.episode_return.value == pytest.approx(sum(returns) / 24)
    middle = sorted(returns)[6:18]
    assert pooled.return_iqm.value == pytest.approx(sum(middle) / 12)
    assert pooled.success_mean.low < pooled.success_mean.value < pooled.success_mean.high
    assert pool_results(two[::-1]) == pooled
    words = dict(pooled_lines(pooled))
    assert words["on solvable hands"].startswith(f"100.0% of {solvable}")
    assert "0: " in words["  by seed"]


def test_only_what_differs_in_its_seed_alone_is_pooled(evaluation: Evaluate) -> None:
    first, second = evaluation(seed=0), evaluation(seed=1)
    other = evaluation(seed=1, options={"split": "test"})
    assert pools([second, other, first]) == [[first, second], [other]]
    with pytest.raises(ResultError, match="more than the seed"):
        pool_results([first, other])
    with pytest.raises(ResultError, match="same seed 0"):
        pool_results([first, replace(first, folder=Path("elsewhere"))])
    with pytest.raises(ResultError, match="no evaluations"):
        pool_results([])


def test_the_terminal_shows_the_same_interval_of_several_seeds(evaluation: Evaluate) -> None:
    two = [evaluation(SolverPolicy(), seed=seed, n_episodes=12, options={"hands": "all"}) for seed in (0, 1)]
    (line,) = standings(two)
    assert line.episode_return == pool_results(two).episode_return
