"""How much of a fit survives when the trials are drawn anew, and whether shuffled losses do it too.

The bootstrap draws trials with replacement and repeats the whole choice; the permutation test
shuffles the losses and repeats the whole search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instructmine.regression.ols import left_over
from instructmine.regression.search import Folds, best_scores, search
from instructmine.regression.subsets import BoolArray, FloatArray, Subsets


@dataclass(frozen=True)
class Permutation:
    """Permutation test of the whole search.

    statistic: best CV-R2 of the search. p: (1 + shuffles at least as good) / (1 + shuffles), the
    corrected estimate of Phipson & Smyth 2010. shuffled_median, shuffled_95: quantiles of the
    best CV-R2 on shuffled losses: what the search finds in nothing.
    """

    statistic: float
    p: float
    permutations: int
    shuffled_median: float
    shuffled_95: float


def permutation_test(
    x: FloatArray,
    y: FloatArray,
    folds: Folds,
    permutations: int,
    controls: FloatArray | None = None,
) -> Permutation:
    """Test whether the search on y (n,) finds more than it finds in shuffled copies of it.

    controls: (n, c) columns that were taken out of x and y. They are taken out of each shuffled
    copy, too, which would else explain less than y for that reason alone.
    """
    rng = np.random.default_rng([folds.seed, permutations])
    shuffled = np.column_stack([rng.permutation(y) for _ in range(permutations)])
    if controls is not None:
        shuffled, _ = left_over(controls, shuffled)
    scores = best_scores(x, np.column_stack([y, shuffled]), Subsets.of(x.shape[1]), folds)
    statistic, shuffled = float(scores[0]), scores[1:]
    # shuffles may tie with the data exactly; rounding must not decide for us
    p = (1 + int((shuffled >= statistic - 1e-12).sum())) / (1 + permutations)
    median, high = np.quantile(shuffled, [0.5, 0.95])
    return Permutation(statistic, p, permutations, float(median), float(high))


@dataclass(frozen=True)
class Bootstrap:
    """What resampling the trials does to the choice and to the signs.

    selected: column → share of resamples whose choice holds it. same_choice: share whose choice
    is exactly the rule's. sign: column of the rule → share of resamples, the rule's columns
    refitted, in which it keeps its sign. full_sign: the same for all columns fitted together.
    """

    resamples: int
    selected: dict[str, float]
    same_choice: float
    sign: dict[str, float]
    full_sign: dict[str, float]


def bootstrap(
    x: FloatArray,
    y: FloatArray,
    names: Sequence[str],
    chosen: BoolArray,
    folds: Folds,
    resamples: int,
) -> Bootstrap:
    """Draw the trials anew `resamples` times; the copies of a trial share its fold."""
    n, p = x.shape
    rng = np.random.default_rng([folds.seed, resamples, n])
    counts = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)
    subsets = Subsets.of(p)
    choices = subsets.masks[[one.chosen for one in search(x, y, counts, subsets, folds)]]
    inside = np.flatnonzero(chosen)
    return Bootstrap(
        resamples=resamples,
        selected=dict(zip(names, map(float, choices.mean(axis=0)), strict=True)),
        same_choice=float((choices == chosen).all(axis=1).mean()),
        sign=_same_sign(x[:, inside], y, counts, [names[int(i)] for i in inside]),
        full_sign=_same_sign(x, y, counts, names),
    )


def _same_sign(
    x: FloatArray, y: FloatArray, counts: FloatArray, names: Sequence[str]
) -> dict[str, float]:
    reference = np.sign(_slopes(x, y, np.ones(len(y))))
    signs = np.array([np.sign(_slopes(x, y, count)) for count in counts])
    return dict(zip(names, map(float, (signs == reference).mean(axis=0)), strict=True))


def _slopes(x: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the slopes (k,) of weighted least squares with an intercept."""
    total, root = weights.sum(), np.sqrt(weights)
    z = (x - weights @ x / total) / x.std(axis=0)
    slopes: FloatArray = np.linalg.lstsq(
        z * root[:, None], (y - weights @ y / total) * root, rcond=None
    )[0]
    return slopes
