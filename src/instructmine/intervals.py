"""How sure a difference is: paired over prompts, over seeds, and corrected for many comparisons.

Differences are first minus second, so where lower is better a negative one speaks for the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
LEVEL = 0.95
_CHUNK = 1000  # resamples drawn at once: 1,000 × prompts integers


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference with its 95 % interval and a two-sided p-value."""

    p: float


@dataclass(frozen=True)
class Variance:
    """A variance with the degrees of freedom that it was estimated with."""

    value: float
    freedom: float


def bootstrap_difference(
    first: Sequence[float] | FloatArray,
    second: Sequence[float] | FloatArray,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Return the mean difference of two models on the same n prompts, by a paired bootstrap.

    Prompts are drawn with replacement (Efron & Tibshirani 1993, percentile interval); p is twice
    the share of resamples on the other side of zero, never below 1 / resamples.

    Not covered: another training of the same kind; see `seeded_difference`.
    """
    gaps = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    means = resampled_means(gaps, resamples=resamples, seed=seed)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    above, below = float(np.mean(means >= 0)), float(np.mean(means <= 0))
    p = float(np.clip(2 * min(above, below), 1 / resamples, 1.0))
    return Difference(float(gaps.mean()), float(low), float(high), p)


def resampled_means(values: FloatArray, *, resamples: int = 10_000, seed: int = 0) -> FloatArray:
    """Return the means of resamples of n values, (resamples,)."""
    rng = np.random.default_rng(seed)
    parts = [
        values[rng.integers(0, len(values), (min(_CHUNK, resamples - start), len(values)))].mean(1)
        for start in range(0, resamples, _CHUNK)
    ]
    return np.concatenate(parts)


def seeded_difference(
    first: FloatArray, second: FloatArray, noise: Variance | None = None
) -> Difference:
    """Return the mean difference of two ways of training, for other seeds and other prompts.

    first, second: losses (seeds, prompts), the same prompts in both; seeds need not be as many.
    noise: variance of the first's mean loss from seed to seed, where more than its own seeds
    tell it. Three things vary: the seeds of the first, those of the second, and the prompts, on
    which the two are paired. Their variances add, with Satterthwaite's degrees of freedom (1946);
    that of seed × prompt is counted twice, which only widens. A side with one seed is given the
    other side's variance over seeds.

    Raises ValueError where no variance over seeds is known: `bootstrap_difference` then speaks of
    these two models alone.
    """
    a, b = np.atleast_2d(first), np.atleast_2d(second)
    own, other = noise or seed_variance(a), seed_variance(b)
    if own is None and other is None:
        raise ValueError("two ways with one seed each say nothing about other seeds")
    gaps = a.mean(axis=0) - b.mean(axis=0)
    parts = [
        *_part(own or other, len(a)),
        *_part(other or own, len(b)),
        *_part(_variance(gaps), gaps.size),
    ]
    estimate, p = _student(float(gaps.mean()), parts)
    return Difference(estimate.value, estimate.low, estimate.high, p)


def seeded_mean(losses: FloatArray, noise: Variance | None = None) -> Estimate:
    """Return the mean of losses (seeds, prompts) with an interval for other seeds and prompts.

    One seed without `noise` gives the interval over prompts alone.
    """
    found = np.atleast_2d(losses)
    by_prompt = found.mean(axis=0)
    parts = [
        *_part(noise or seed_variance(found), len(found)),
        *_part(_variance(by_prompt), by_prompt.size),
    ]
    return _student(float(by_prompt.mean()), parts)[0]


def seed_variance(losses: FloatArray) -> Variance | None:
    """Return how the mean loss of (seeds, prompts) varies from seed to seed; None for one seed."""
    return _variance(np.atleast_2d(losses).mean(axis=1))


def pooled_variance(variances: Iterable[Variance | None]) -> Variance | None:
    """Return one variance for several that are held to be equal; None where none is known."""
    known = [one for one in variances if one is not None]
    freedom = sum(one.freedom for one in known)
    if not known:
        return None
    return Variance(sum(one.value * one.freedom for one in known) / freedom, freedom)


def _variance(values: FloatArray) -> Variance | None:
    return Variance(float(values.var(ddof=1)), values.size - 1) if values.size > 1 else None


def _part(variance: Variance | None, count: int) -> list[Variance]:
    """Return the variance of a mean of so many; nothing where it is not known."""
    return [] if variance is None else [Variance(variance.value / count, variance.freedom)]


def _student(value: float, parts: Sequence[Variance]) -> tuple[Estimate, float]:
    """Return a mean with its interval, and the p-value of zero, from variances that add."""
    from scipy import stats

    variance = sum(part.value for part in parts)
    if not parts:
        return Estimate(value, math.nan, math.nan), math.nan
    if variance == 0:
        return Estimate(value, value, value), 1.0 if value == 0 else 0.0
    freedom = variance**2 / sum(part.value**2 / part.freedom for part in parts)
    error = variance**0.5
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p = float(2 * stats.t.sf(abs(value) / error, freedom))
    return Estimate(value, value - half, value + half), p


def mean_interval(values: Sequence[float] | FloatArray) -> Estimate:
    """Return the mean of independent values with its interval (Student); NaN for one value."""
    found = np.asarray(values, dtype=np.float64)
    return _student(float(found.mean()), _part(_variance(found), found.size))[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = largest
    return [float(one) for one in corrected]
