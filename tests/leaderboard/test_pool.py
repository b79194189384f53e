"""Several seeds pooled: what belongs together, and the figures of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gtr_envs.errors import ResultError
from gtr_envs.experts import SolverPolicy
from leaderboard.evaluations import pooled_lines
from leaderboard.pool import Pool, pools
from leaderboard.standings import standings

from .conftest import Evaluate, SayingPolicy


def test_seeds_are_pooled(evaluation: Evaluate) -> None:
    options = {"hands": "all"}
    two = [evaluation(SolverPolicy(), seed=seed, n_episodes=12, options=options) for seed in (1, 0)]
    (pool,) = pools(two)
    found = pool.to_json()
    solvable = sum(result.summary.n_solvable or 0 for result in two)
    assert (found["seeds"], found["n_episodes"], found["n_solvable"]) == ((0, 1), 24, solvable)
    assert 0 < solvable < 24
    assert (pool.success.successes, found["success_solvable"]["rate"]["value"]) == (solvable, 1.0)
    assert found["success_by_seed"] == {result.meta.seed: asdict(result.summary.success) for result in two}
    returns = [episode.episode_return for result in two for episode in result.episodes]
    assert pool.episode_return.value == pytest.approx(sum(returns) / 24)
    assert pool.return_iqm.value == pytest.approx(sum(sorted(returns)[6:18]) / 12)
    assert pool.success_mean.low < pool.success_mean.value < pool.success_mean.high
    assert pools(two[::-1]) == [pool]
    words = dict(pooled_lines(pool))
    assert words["on solvable hands"].startswith(f"100.0% of {solvable}")
    assert "0: " in words["  by seed"]
    (line,) = standings(two)
    assert line.episode_return == pool.episode_return


def test_the_figures_of_one_seed_are_its_summarys(evaluation: Evaluate) -> None:
    result = evaluation(SayingPolicy())
    pool, summary = Pool((result,)), result.summary
    rates = {"illegal": summary.illegal_rate, "invalid": summary.invalid_answer_rate, "repaired": summary.repaired_rate}
    assert pool.figures == {**rates, "steps": summary.steps_mean, "tokens": summary.thought_tokens_mean}
    assert (pool.success, pool.episode_return) == (summary.success, summary.episode_return)


def test_only_what_differs_in_its_seed_alone_is_pooled(evaluation: Evaluate) -> None:
    first, second = evaluation(seed=0), evaluation(seed=1)
    other = evaluation(seed=1, options={"split": "test"})
    assert pools([second, other, first]) == [Pool((first, second)), Pool((other,))]
    with pytest.raises(ResultError, match="same seed 0"):
        pools([first, replace(first, folder=Path("elsewhere"))])
    for setting in ("agent", "method", "base_model", "fingerprint"):
        changed = replace(second, meta=replace(second.meta, **{setting: "another"}))
        assert len(pools([first, changed])) == len(standings([first, changed])) == 2
