"""How sure a difference is: paired over prompts, over seeds, and corrected for many comparisons.

Differences are first minus second, so where lower is better a negative one speaks for the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
LEVEL = 0.95
_CHUNK = 1000  # resamples drawn at once: 1,000 × prompts integers


@dataclass(frozen=True)
class Difference:
    """A difference with a 95 % interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


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


def seeded_difference(first: FloatArray, second: FloatArray) -> Difference:
    """Return the mean difference of two ways of training, for other seeds and other prompts.

    first, second: losses (seeds, prompts), the same prompts in both; seeds need not be as many.
    Three things vary: the seeds of the first, those of the second, and the prompts, on which the
    two are paired. Their variances add, with Satterthwaite's degrees of freedom (1946); that of
    seed × prompt is counted twice, which only widens. A side with one seed is given the other
    side's variance over seeds.

    Raises ValueError where both sides have one seed: then use `bootstrap_difference`, which
    speaks of these two models alone.
    """
    from scipy import stats

    a, b = np.atleast_2d(first), np.atleast_2d(second)
    if len(a) < 2 and len(b) < 2:
        raise ValueError("two ways with one seed each say nothing about other seeds")
    gaps = a.mean(axis=0) - b.mean(axis=0)
    spread = [np.var(one.mean(axis=1), ddof=1) if len(one) > 1 else None for one in (a, b)]
    known = next(one for one in spread if one is not None)
    parts = [
        ((known if one is None else one) / len(side), max(len(side) - 1, 1))
        for one, side in zip(spread, (a, b), strict=True)
    ]
    if gaps.size > 1:
        parts.append((np.var(gaps, ddof=1) / gaps.size, gaps.size - 1))
    variance = float(sum(part for part, _ in parts))
    value = float(gaps.mean())
    if variance == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * variance**0.5
    p = float(2 * stats.t.sf(abs(value) / variance**0.5, freedom))
    return Difference(value, value - half, value + half, p)


def mean_interval(values: Sequence[float] | FloatArray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of independent values (Student); NaN for one value."""
    from scipy import stats

    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return float("nan"), float("nan")
    half = stats.t.ppf((1 + LEVEL) / 2, len(found) - 1) * found.std(ddof=1) / len(found) ** 0.5
    return float(found.mean() - half), float(found.mean() + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the order given."""
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(p_values))
    largest = 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[at]))
        corrected[at] = largest
    return [float(one) for one in corrected]
