"""Intervals and paired comparisons: pure functions of counts and values.

Every interval here is two-sided. Where there is nothing to say (no episode at all, or a spread asked of one value) the
answer is NaN, never a number that looks like knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_CHUNK = 60_000
"""Most indices that one chunk of a bootstrap draws: half a MB, which a processor's cache holds, is the fastest."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its confidence interval; NaN where it cannot be known."""

    value: float
    low: float
    high: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a success rate.

    Args:
        successes: how many of the ``n`` trials succeeded.
        n: the number of trials.
        confidence: the interval's confidence level, between 0 and 1.

    Returns:
        the rate and its bounds, in [0, 1]; NaN throughout if ``n`` is 0.

    Raises:
        ValueError: the counts do not fit each other.

    Source: Wilson (1927), https://doi.org/10.1080/01621459.1927.10502953, as computed by SciPy.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials: the first must lie between 0 and the second")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    from scipy.stats import binomtest

    bounds = binomtest(successes, n).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(successes / n, float(bounds.low), float(bounds.high))


def bootstrap_mean(
    values: Sequence[float] | np.ndarray, seed: int = 0, n_resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """The percentile bootstrap interval of a mean.

    Args:
        values: the sample, one number an episode.
        seed: the seed of the resampling; the same seed gives the same bounds.
        n_resamples: how many resamples are drawn.
        confidence: the interval's confidence level, between 0 and 1.

    Returns:
        the mean and its bounds. No value: NaN throughout. One value: its bounds are NaN, since one number shows no
        spread. All values equal: the bounds equal the mean.

    Source: Efron (1979), https://doi.org/10.1214/aos/1176344552.
    """
    return stratified_bootstrap([values], row_means, seed, n_resamples, confidence)


def row_means(rows: np.ndarray) -> np.ndarray:
    """The mean of each row."""
    return np.asarray(rows.mean(axis=1))


def interquartile_mean(rows: np.ndarray) -> np.ndarray:
    """The mean of the middle half of each row: a quarter of its values, rounded down, is cut off at either end.

    It is less at the mercy of a few extreme values than the mean, and less blind to them than the median.

    Source: Agarwal et al. (2021), https://arxiv.org/abs/2108.13264; as rliable computes it, by SciPy's trimmed mean.
    """
    cut = rows.shape[1] // 4
    middle = np.sort(rows, axis=1)[:, cut : rows.shape[1] - cut]  # faster here than SciPy's trim_mean, the same numbers
    return np.asarray(middle.mean(axis=1))


def stratified_bootstrap(
    strata: Sequence[Sequence[float] | np.ndarray],
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
) -> Interval:
    """The percentile bootstrap interval of a statistic of values that come in strata, such as evaluation seeds.

    Each resample draws from every stratum as many values as it has, so that no stratum's weight changes.

    Args:
        strata: the values of each stratum; empty ones count for nothing.
        statistic: of each row of a (resamples, values) array, such as :func:`row_means`.
        seed: the seed of the resampling; the same seed gives the same bounds.
        n_resamples: how many resamples are drawn.
        confidence: the interval's confidence level, between 0 and 1.

    Returns:
        the statistic of all values and its bounds. No value: NaN throughout. One value in each stratum: the bounds are
        NaN, since a resample could only repeat it.

    Source: Agarwal et al. (2021), https://arxiv.org/abs/2108.13264, section 4.1.
    """
    samples = [np.asarray(values, dtype=np.float64) for values in strata if len(values)]
    if not samples:
        return Interval(math.nan, math.nan, math.nan)
    whole = np.concatenate(samples)
    alone = all(sample.size == 1 for sample in samples)
    if np.all(whole == whole[0]):
        spread = math.nan if alone else float(whole[0])
        return Interval(float(whole[0]), spread, spread)
    value = float(statistic(whole[np.newaxis])[0])
    if alone:
        return Interval(value, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    rows = max(1, BOOTSTRAP_CHUNK // whole.size)
    found: list[np.ndarray] = []
    for done in range(0, n_resamples, rows):
        count = min(rows, n_resamples - done)
        drawn = [sample[rng.integers(sample.size, size=(count, sample.size))] for sample in samples]
        found.append(statistic(np.concatenate(drawn, axis=1)))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.concatenate(found), [tail, 1.0 - tail])
    return Interval(value, float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact two-sided test of "neither is better".

    Args:
        only_first: pairs on which only the first succeeded.
        only_second: pairs on which only the second did.

    Returns:
        how probable so uneven a split, or one more uneven, would be if a coin decided each of these pairs; 1 if there
        are none.

    Source: McNemar (1947), https://doi.org/10.1007/BF02295996.
    """
    if only_first + only_second == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_first, only_first + only_second).pvalue)
