"""The choice of columns: every subset judged by repeated K-fold cross-validation.

CV-R2 is `1 - Σ (held-out error)² / Σ (held-out error of the training mean)²`, summed over all
folds and repeats: 0 is as good as always predicting the mean, and it may be negative.
The choice is the smallest subset whose squared held-out error is at most one standard error
worse than that of the best subset. The standard error is that of the paired difference over
trials, which is sharper than the one of the best error alone (Breiman et al. 1984, §3.4.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from instructmine.regression.subsets import (
    FloatArray,
    IntArray,
    Subsets,
    design,
    eliminate,
    normal_equations,
)

_LANES = 600  # data sets side by side: their arrays should stay in the processor's cache
_RESPONSES = 100  # responses side by side, for the same reason


@dataclass(frozen=True)
class Folds:
    """Repeated K-fold cross-validation: how many folds, how often, drawn from which seed."""

    folds: int = 10
    repeats: int = 5
    seed: int = 0

    def draw(self, weights: FloatArray) -> IntArray:
        """Return (repeats, n) fold numbers, balanced over the rows of non-zero weight; else -1.

        Copies of a row in a resample have one fold, so none is trained on and tested at once.
        """
        rng = np.random.default_rng([self.seed, self.folds, self.repeats])
        used = np.flatnonzero(weights)
        numbers = np.full((self.repeats, len(weights)), -1)
        for row in numbers:
            row[rng.permutation(used)] = np.arange(len(used)) % self.folds
        return numbers


@dataclass(frozen=True)
class Search:
    """What the search over all subsets of one data set found.

    cv_r2: (m,) of every subset. best: position of the highest. chosen: position of the choice,
    see the module. cv_rmse: (m,) root of the mean squared held-out error, in log loss.
    """

    cv_r2: FloatArray
    cv_rmse: FloatArray
    best: int
    chosen: int


def search(
    x: FloatArray, y: FloatArray, weights: FloatArray, subsets: Subsets, folds: Folds
) -> Iterator[Search]:
    """Search all subsets of the columns, for each of many weightings of the same trials.

    x: (n, p). y: (n,). weights: (k, n): ones for all trials, 0 and 1 for a part of them, counts
    for a resample. Yields k results, in order.
    """
    z = design(x)
    sizes = subsets.sizes
    batch = max(1, _LANES // (folds.folds * folds.repeats))
    for start in range(0, len(weights), batch):
        part = weights[start : start + batch]
        errors, baseline = held_out_errors(z, y, part, subsets, folds)
        for error, base, weight in zip(errors, baseline, part, strict=True):
            yield _choose(error, base, weight, sizes)


def held_out_errors(
    z: FloatArray, y: FloatArray, weights: FloatArray, subsets: Subsets, folds: Folds
) -> tuple[FloatArray, FloatArray]:
    """Return squared held-out errors, mean over the repeats: (k, n, m) and, of the mean, (k, n).

    A trial of weight 0 has error 0.
    """
    numbers = np.stack([folds.draw(weight) for weight in weights])  # (k, repeats, n)
    k, repeats, n = numbers.shape
    held = numbers[:, :, None, :] == np.arange(folds.folds)[:, None]  # (k, repeats, folds, n)
    train = np.where(held, 0.0, weights[:, None, None, :]).reshape(-1, n)
    where, rows = _gather(z, y, held.reshape(-1, n))
    lane = np.repeat(np.arange(k), repeats * folds.folds)
    flat = (lane * (n + 1) + where).ravel()  # place of each tested trial; n takes the filling
    errors = np.empty((len(subsets) + 1, k * (n + 1)))
    for code, left in eliminate(normal_equations(z, y[:, None], train), rows):
        squares = (left[:, 0] ** 2).ravel()
        errors[subsets.place[code]] = np.bincount(flat, squares, minlength=k * (n + 1))
    errors = (errors / repeats).reshape(-1, k, n + 1)[:, :, :n]
    return np.ascontiguousarray(errors[:-1].transpose(1, 2, 0)), errors[-1]


def _gather(z: FloatArray, y: FloatArray, held: FloatArray) -> tuple[IntArray, FloatArray]:
    """Return the tested trials of each lane (t, lanes) and their rows (t, q + 1, lanes).

    Lanes with fewer tested trials are filled up with zeros at place n, whose error stays 0.
    """
    n = len(z)
    counts = held.sum(axis=1)
    where = np.full((int(counts.max()), len(held)), n)
    lane, trial = np.nonzero(held)
    nth = np.arange(len(lane)) - np.repeat(np.cumsum(counts) - counts, counts)
    where[nth, lane] = trial
    both = np.vstack([np.column_stack([z, y]), np.zeros(z.shape[1] + 1)])
    return where, np.ascontiguousarray(both[where].transpose(0, 2, 1))


def _choose(
    errors: FloatArray, baseline: FloatArray, weights: FloatArray, sizes: IntArray
) -> Search:
    """Choose from (n, m) squared errors; `baseline` (n,) are those of the mean."""
    total = weights.sum()
    means = weights @ errors / total
    best = int(np.argmin(means))
    excess = errors - errors[:, [best]]
    spread = weights @ (excess - (means - means[best])) ** 2 / max(total - 1, 1)
    near = np.flatnonzero(means - means[best] <= np.sqrt(spread / total))
    chosen = near[np.lexsort((means[near], sizes[near]))[0]]
    reference = weights @ baseline / total
    return Search(1 - means / reference, np.sqrt(means), best, int(chosen))


def best_scores(x: FloatArray, ys: FloatArray, subsets: Subsets, folds: Folds) -> FloatArray:
    """Return the best CV-R2 over all subsets for each of many responses ys (n, b), as (b,).

    The folds are those of `search` on all trials.
    """
    z = design(x)
    held = folds.draw(np.ones(len(z)))[:, None, :] == np.arange(folds.folds)[:, None]
    held = held.reshape(-1, len(z))
    return np.concatenate(
        [
            _best_of(z, ys[:, start : start + _RESPONSES], held, len(subsets))
            for start in range(0, ys.shape[1], _RESPONSES)
        ]
    )


def _best_of(z: FloatArray, ys: FloatArray, held: FloatArray, subsets: int) -> FloatArray:
    """Return (b,) the best CV-R2 over all subsets for each of b responses."""
    q, b = z.shape[1], ys.shape[1]
    where, _ = _gather(z, ys[:, 0], held)
    both = np.vstack([np.column_stack([z, ys]), np.zeros(q + b)])
    rows = np.ascontiguousarray(both[where].transpose(0, 2, 1))
    system = normal_equations(z, ys, 1.0 - held)
    steps = eliminate(system, rows)
    baseline = np.einsum("tbl,tbl->b", *[next(steps)[1]] * 2)
    best = np.full(b, np.inf)
    for _, left in steps:
        np.minimum(best, np.einsum("tbl,tbl->b", left, left), out=best)
    scores: FloatArray = 1 - best / baseline
    return scores
