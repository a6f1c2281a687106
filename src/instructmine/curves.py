"""Loss against size, measured with several seeds: the best size, the one to take, its shape.

Losses are in nats per token, lower is better. Three things make a mean loss uncertain: another
training of the same size, other prompts, and both at once. The scatter between seeds is pooled
over all sizes, because two or three seeds tell next to nothing about their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from instructmine.intervals import (
    LEVEL,
    Estimate,
    Variance,
    holm,
    pooled_variance,
    seed_variance,
    seeded_mean,
)

FloatArray = npt.NDArray[np.float64]
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Point:
    """One size. losses: (seeds, prompts), the same prompts at every size."""

    size: int
    losses: FloatArray

    @property
    def seeds(self) -> int:
        """Number of trainings."""
        return len(self.losses)

    @property
    def loss(self) -> float:
        """Mean over seeds and prompts."""
        return float(self.losses.mean())


@dataclass(frozen=True)
class Turn:
    """A size at which the curve turns; `left` and `right` are the sizes that show it.

    p: of the turn not being there, corrected for every size at which one was looked for.
    """

    size: int
    left: int
    right: int
    p: float


@dataclass(frozen=True)
class Shape:
    """What the curve does beyond what chance explains.

    bumps: sizes significantly above both a smaller and a larger one. minimum: the lowest size, if
    it lies inside and is significantly below both ends. falls, rises: the larger end is
    significantly below, or above, the smaller one. lowest: the size of the lowest loss.
    """

    sizes: tuple[int, ...]
    lowest: int
    bumps: tuple[Turn, ...] = ()
    minimum: Turn | None = None
    falls: bool = False
    rises: bool = False

    def explain(self) -> str:
        """Say it in one sentence."""
        if len(self.sizes) == 1:
            return "one size was measured, which is no curve"
        at_end = self.lowest == self.sizes[-1]
        if self.bumps:
            one = min(self.bumps, key=lambda bump: bump.p)
            return (
                f"the loss rises and falls again (double descent): at {one.size:,} it is above "
                f"that at {one.left:,} and at {one.right:,} (p {one.p:.2g}, corrected)"
            )
        if self.minimum:
            return (
                f"the loss has a minimum inside the range: at {self.minimum.size:,} it is below "
                f"both ends (p {self.minimum.p:.2g}, corrected)"
            )
        if at_end and self.falls:
            return "the loss still falls at the largest size: a larger one may do better"
        if self.falls:
            return "the loss falls and then levels off; no minimum inside the range is certain"
        if self.rises:
            return "the loss rises with the size; a smaller one may do better"
        return "no size differs from another by more than chance explains"


class SizeCurve:
    """Points of one ranking, in order of size.

    Only sizes with as many seeds as any other can be best or be taken: a lucky single training
    must not win over the mean of three.
    """

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = tuple(sorted(points, key=lambda one: one.size))
        if not self.points:
            raise ValueError("a curve needs a point")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes, ascending."""
        return tuple(one.size for one in self.points)

    @cached_property
    def noise(self) -> Variance | None:
        """How the mean loss varies from seed to seed at one size; None with single seeds."""
        return pooled_variance(seed_variance(one.losses) for one in self.points)

    @cached_property
    def eligible(self) -> tuple[Point, ...]:
        """The points with the most seeds."""
        most = max(one.seeds for one in self.points)
        return tuple(one for one in self.points if one.seeds == most)

    @property
    def best(self) -> Point:
        """The point of the lowest mean loss, the smaller of equals."""
        return min(self.eligible, key=lambda one: (one.loss, one.size))

    @property
    def chosen(self) -> Point:
        """The smallest point no worse than the best by more than a standard error.

        It is that of the paired difference: how hard the prompts are is common to both. The
        standard error of a mean loss, which holds the prompts, would take far too small a size,
        and an interval of the difference would take the smaller, the fewer seeds there are.
        """
        return next(
            one
            for one in self.eligible
            if one is self.best or one.loss - self.best.loss <= self.standard_error(one, self.best)
        )

    def standard_error(self, one: Point, other: Point) -> float:
        """Return that of the difference of two points, over other seeds and other prompts."""
        error, _ = self._errors((one, other))
        return float(error[0, 1])

    def difference(self, one: Point, other: Point) -> Estimate:
        """Return how much higher the first's loss is, with the 95 % interval of the difference."""
        from scipy import stats

        errors, freedom = self._errors((one, other))
        gap = one.loss - other.loss
        if one is other:
            return Estimate(gap, gap, gap)
        half = float(stats.t.ppf((1 + LEVEL) / 2, freedom[0, 1])) * float(errors[0, 1])
        return Estimate(gap, gap - half, gap + half)

    def estimate(self, point: Point) -> Estimate:
        """Return the loss with its 95 % interval, for other seeds and other prompts."""
        return seeded_mean(point.losses, self.noise)

    def winners(self, resamples: int = 2000, seed: int = 0) -> dict[int, float]:
        """Return the share of resamples in which each size is the best.

        Prompts are drawn with replacement, the same for all sizes. The seeds' deviations from
        the mean of their size are drawn from those of all sizes, widened by √(k / (k − 1)),
        because k seeds lie closer to their own mean than to the true one.
        """
        rng = np.random.default_rng(seed)
        points = self.eligible
        prompts = points[0].losses.shape[1]
        weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), resamples) / prompts
        means = weights @ np.stack([one.losses.mean(axis=0) for one in points], axis=1)
        deviations = [_deviations(one) for one in self.points if one.seeds > 1]
        if deviations:
            pool = np.concatenate(deviations)
            drawn = rng.choice(pool, (resamples, len(points), points[0].seeds))
            means = means + drawn.mean(axis=2)
        won = np.bincount(means.argmin(axis=1), minlength=len(points)) / resamples
        return {one.size: float(share) for one, share in zip(points, won, strict=True)}

    def size_interval(self, resamples: int = 2000, seed: int = 0) -> tuple[int, int]:
        """Return the sizes between which the best lies in 95 % of the resamples."""
        won = self.winners(resamples, seed)
        share = np.cumsum(list(won.values()))
        sizes = list(won)
        tail = (1 - LEVEL) / 2
        first, last = np.searchsorted(share, [tail, 1 - tail - 1e-12])
        return sizes[int(first)], sizes[min(int(last), len(sizes) - 1)]

    def shape(self) -> Shape:
        """Test for bumps, for a minimum inside, and for a slope from end to end.

        Each is a union of one-sided tests of paired differences. A size is a bump if some smaller
        and some larger one are below it: p is the larger of the two sides' p, each corrected
        (Holm) for the sizes tried on its side. It is a minimum if both ends are above it. The p of
        all inner sizes are then corrected by Holm (1979): on a curve that only falls or only rises
        a bump or a minimum is found in 5 % of cases at most.
        """
        sizes = self.sizes
        lowest = min(self.points, key=lambda one: (one.loss, one.size)).size
        if len(sizes) < 2 or (self.noise is None and self.points[0].losses.shape[1] < 2):
            return Shape(sizes, lowest)
        above = self._above()
        inner = range(1, len(sizes) - 1)
        sides = [(_smallest(above[j, :j]), _smallest(above[j, j + 1 :])) for j in inner]
        high = holm([max(left[1], right[1]) for left, right in sides])
        bumps = [
            Turn(sizes[j], sizes[left], sizes[j + 1 + right], p)
            for j, ((left, _), (right, _)), p in zip(inner, sides, high, strict=True)
            if p <= SIGNIFICANT
        ]
        low = holm([max(above[0, j], above[-1, j]) for j in inner])
        minima = [
            Turn(sizes[j], sizes[0], sizes[-1], p)
            for j, p in zip(inner, low, strict=True)
            if p <= SIGNIFICANT
        ]
        loss = dict(zip(sizes, (one.loss for one in self.points), strict=True))
        return Shape(
            sizes,
            lowest,
            tuple(bumps),
            min(minima, key=lambda one: loss[one.size], default=None),
            falls=bool(above[0, -1] <= SIGNIFICANT),
            rises=bool(above[-1, 0] <= SIGNIFICANT),
        )

    def _above(self) -> FloatArray:
        """Return the one-sided p of every size not being above every other, (sizes, sizes)."""
        from scipy import stats

        errors, freedom = self._errors(self.points)
        losses = np.array([one.loss for one in self.points])
        gaps = losses[:, None] - losses[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            found = stats.t.sf(gaps / errors, freedom)
        return np.where(errors > 0, found, np.where(gaps > 0, 0.0, 1.0))

    def _errors(self, points: Sequence[Point]) -> tuple[FloatArray, FloatArray]:
        """Return standard errors and degrees of freedom of all differences, (points, points).

        The variances of seeds and of prompts add (Satterthwaite 1946).
        """
        by_prompt = np.stack([one.losses.mean(axis=0) for one in points])
        prompts = by_prompt.shape[1]
        parts = []
        if prompts > 1:
            spread = np.atleast_2d(np.cov(by_prompt))
            own = np.diag(spread)
            paired = np.maximum(own[:, None] + own[None, :] - 2 * spread, 0)
            parts.append((paired / prompts, prompts - 1))
        if self.noise is not None:
            each = 1 / np.array([one.seeds for one in points])
            parts.append((self.noise.value * (each[:, None] + each[None, :]), self.noise.freedom))
        if not parts:
            zero = np.zeros((len(points), len(points)))
            return zero, zero + math.inf
        variance = sum(part for part, _ in parts)
        with np.errstate(divide="ignore", invalid="ignore"):
            freedom = variance**2 / sum(part**2 / count for part, count in parts)
        return np.sqrt(variance), np.nan_to_num(freedom, nan=1.0)


def _deviations(point: Point) -> FloatArray:
    means = point.losses.mean(axis=1)
    widened: FloatArray = (means - means.mean()) * math.sqrt(len(means) / (len(means) - 1))
    return widened


def _smallest(p: FloatArray) -> tuple[int, float]:
    """Return where the smallest p stands, and that p corrected for all that were tried."""
    at = int(p.argmin())
    return at, min(1.0, float(p[at]) * len(p))
