"""Intervals and comparisons against numbers worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboard.stats import (
    bootstrap_mean,
    interquartile_mean,
    mcnemar,
    row_means,
    stratified_bootstrap,
    wilson,
)


def test_wilson_of_none_in_ten() -> None:
    # (0 + z^2 / 2 +- z^2 / 2) / (n + z^2) with z = 1.959964: from 0 to 3.841459 / 13.841459
    interval = wilson(0, 10)
    assert interval.value == 0.0
    assert interval.low == pytest.approx(0.0, abs=1e-12)
    assert interval.high == pytest.approx(0.277533, abs=1e-6)


def test_wilson_of_half() -> None:
    # half width: 1.959964 * sqrt(0.25 / 10 + 3.841459 / 400) / 1.3841459 = 0.263407
    interval = wilson(5, 10)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.236593, 0.763407), abs=1e-6)


def test_wilson_with_another_confidence_is_wider() -> None:
    assert wilson(5, 10, confidence=0.99).low < wilson(5, 10).low


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_stays_in_the_unit_interval_around_the_rate(counts: tuple[int, int]) -> None:
    interval = wilson(*counts)
    assert -1e-12 <= interval.low <= interval.value + 1e-12
    assert interval.value - 1e-12 <= interval.high <= 1 + 1e-12


def test_no_trial_says_nothing() -> None:
    interval = wilson(0, 0)
    assert all(map(math.isnan, (interval.value, interval.low, interval.high)))
    interval = bootstrap_mean([])
    assert all(map(math.isnan, (interval.value, interval.low, interval.high)))


@pytest.mark.parametrize("counts", [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="successes in 3 trials"):
        wilson(*counts)


def test_one_value_has_no_spread() -> None:
    interval = bootstrap_mean([2.5])
    assert interval.value == 2.5
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_equal_values_have_a_spread_of_zero() -> None:
    interval = bootstrap_mean([0.1] * 7)
    assert (interval.value, interval.low, interval.high) == (0.1, 0.1, 0.1)


def test_bootstrap_of_a_coin_thrown_twice() -> None:
    # resampled means are 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4, so 2.5% and 97.5% are the ends
    interval = bootstrap_mean([0.0, 1.0])
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_bootstrap_agrees_with_the_normal_interval_of_a_large_sample() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, size=900)
    interval = bootstrap_mean(values)
    half = 1.959964 * values.std() / math.sqrt(900)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_bootstrap_follows_its_seed() -> None:
    values = [1.0, -1.0, 10.0, -1.0, 0.0]
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    large = np.random.default_rng(0).normal(size=50)
    assert bootstrap_mean(large, seed=3) != bootstrap_mean(large, seed=4)


def test_bootstrap_in_chunks_draws_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=40)
    whole = bootstrap_mean(values)
    monkeypatch.setattr("leaderboard.stats.BOOTSTRAP_CHUNK", 1000)
    assert bootstrap_mean(values) == whole


def test_interquartile_mean_by_hand() -> None:
    # of eight values the two smallest and the two largest go: (3 + 4 + 5 + 6) / 4; of five, one each: (2 + 3 + 4) / 3
    rows = np.array([[100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]])
    assert interquartile_mean(rows) == pytest.approx([4.5, 4.5])
    assert interquartile_mean(np.array([[9.0, 2.0, 3.0, 4.0, -50.0]])) == pytest.approx([3.0])
    assert interquartile_mean(np.array([[1.0, 2.0, 6.0]])) == pytest.approx([3.0])  # nothing to cut off


def test_a_stratified_bootstrap_keeps_every_stratum_at_its_weight() -> None:
    # each stratum is all alike, so that every resample gives the same mean, (2 * 0 + 3 * 10) / 5; drawn without regard
    # to strata it would range over 0 to 10
    interval = stratified_bootstrap([[0.0, 0.0], [10.0, 10.0, 10.0]], row_means)
    assert (interval.value, interval.low, interval.high) == (6.0, 6.0, 6.0)


def test_a_stratified_bootstrap_of_two_coins() -> None:
    # each stratum's mean is 0, 1/2 or 1 with probabilities 1/4, 1/2, 1/4; their mean is 0 or 1 with probability 1/16
    interval = stratified_bootstrap([[0.0, 1.0], [0.0, 1.0]], row_means)
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)


def test_one_stratum_is_the_plain_bootstrap() -> None:
    values = list(np.random.default_rng(1).normal(size=60))
    assert stratified_bootstrap([values, []], row_means) == bootstrap_mean(values)


def test_a_stratified_bootstrap_without_spread() -> None:
    assert all(map(math.isnan, vars(stratified_bootstrap([], row_means)).values()))
    single = stratified_bootstrap([[1.0], [2.0]], row_means)
    assert single.value == 1.5
    assert math.isnan(single.low)
    assert math.isnan(stratified_bootstrap([[1.0], [1.0]], row_means).high)
    assert stratified_bootstrap([[1.0, 1.0]], row_means).high == 1.0


def test_a_stratified_bootstrap_in_chunks_draws_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboard.stats.BOOTSTRAP_CHUNK", 17)
    shapes: list[tuple[int, ...]] = []

    def mean(rows: np.ndarray) -> np.ndarray:
        shapes.append(rows.shape)
        return row_means(rows)

    stratified_bootstrap([[0.0, 1.0], [4.0, 5.0, 9.0]], mean, n_resamples=50)
    assert sum(rows for rows, _ in shapes[1:]) == 50  # the first is the sample itself
    assert {values for _, values in shapes} == {5}


@pytest.mark.parametrize(("counts", "p_value"), [((0, 0), 1.0), ((0, 3), 0.25), ((1, 5), 14 / 64), ((5, 5), 1.0)])
def test_mcnemar_of_counts(counts: tuple[int, int], p_value: float) -> None:
    assert mcnemar(*counts) == pytest.approx(p_value)
