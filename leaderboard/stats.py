"""Intervals and paired comparisons: pure functions of counts and values.

Every interval here is two-sided. Where there is nothing to say (no episode at all, or a spread asked of one value) the
answer is NaN, never a number that looks like knowledge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BOOTSTRAP_CHUNK = 4_000_000
"""Most indices that one chunk of a bootstrap draws, so that memory stays bounded (about 32 MB)."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its confidence interval; NaN where it cannot be known."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedComparison:
    """Two agents on the same hands.

    Attributes:
        n: pairs compared.
        only_first: hands that only the first agent solved.
        only_second: hands that only the second agent solved.
        difference: success rate of the second minus that of the first, with a bootstrap interval over the pairs.
        p_value: exact two-sided McNemar test of "neither is better".
    """

    n: int
    only_first: int
    only_second: int
    difference: Interval
    p_value: float


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
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(sample.mean())
    if sample.size == 1:
        return Interval(mean, math.nan, math.nan)
    if np.all(sample == sample[0]):
        return Interval(float(sample[0]), float(sample[0]), float(sample[0]))
    rng = np.random.default_rng(seed)
    rows = max(1, BOOTSTRAP_CHUNK // sample.size)
    means = np.concatenate(
        [
            sample[rng.integers(sample.size, size=(min(rows, n_resamples - done), sample.size))].mean(axis=1)
            for done in range(0, n_resamples, rows)
        ]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(mean, float(low), float(high))


def compare_paired(
    first: Sequence[bool], second: Sequence[bool], seed: int = 0, n_resamples: int = 10_000
) -> PairedComparison:
    """Compare two agents that played the same hands.

    Args:
        first: success of the first agent on each hand.
        second: success of the second agent on the same hands, in the same order.
        seed: the seed of the bootstrap.
        n_resamples: how many resamples the bootstrap draws.

    Returns:
        the counts of hands that only one of them solved, the difference of the success rates with its interval, and the
        p-value of the exact McNemar test (1 if they never differ).

    Raises:
        ValueError: the vectors differ in length.

    Source: McNemar (1947), https://doi.org/10.1007/BF02295996.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} results against {len(second)}: a paired comparison needs the same hands")
    pairs = list(zip(map(bool, first), map(bool, second), strict=True))
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    p_value = 1.0
    if only_first + only_second:
        from scipy.stats import binomtest

        p_value = float(binomtest(only_first, only_first + only_second).pvalue)
    difference = bootstrap_mean([float(b) - float(a) for a, b in pairs], seed, n_resamples)
    return PairedComparison(len(pairs), only_first, only_second, difference, p_value)
