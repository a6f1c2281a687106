"""In-sample criteria of every subset: R2, adjusted R2, AIC, AICc, BIC and the largest p-value.

They are printed beside CV-R2 for comparison; the choice does not rest on them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructmine.regression.subsets import (
    FloatArray,
    Subsets,
    design,
    eliminate,
    normal_equations,
)

PAPER_P = 0.05
"""InstructMining takes the highest R2, "then p-values"; the paper gives no limit. Ours is .05."""


@dataclass(frozen=True)
class Criteria:
    """In-sample criteria of m subsets, (m,) each. Higher R2 is better, lower AICc and BIC.

    largest_p: the largest classical p-value among the subset's coefficients. paper: position of
    the highest R2 among subsets whose coefficients all have p ≤ PAPER_P, else of the highest R2.
    """

    r2: FloatArray
    adjusted_r2: FloatArray
    aic: FloatArray
    aicc: FloatArray
    bic: FloatArray
    largest_p: FloatArray
    paper: int


def criteria(x: FloatArray, y: FloatArray, subsets: Subsets) -> Criteria:
    """Compute the criteria of every subset of the columns of x (n, p) for y (n,)."""
    from scipy.stats import t

    n = len(y)
    z, centred = design(x), y - y.mean()
    system = normal_equations(z, centred[:, None], np.ones((1, n)))
    own = np.append(z.T @ centred, centred @ centred)[None, :, None]
    rss = np.empty(len(subsets) + 1)  # the empty subset comes last, at place -1
    for code, left in eliminate(system, own):
        rss[subsets.place[code]] = left[0, 0, 0]
    total, rss = rss[-1], rss[:-1]
    k = subsets.sizes + 1
    r2 = 1 - rss / total
    log_likelihood = -n / 2 * (np.log(2 * np.pi * rss / n) + 1)
    largest_p = 2 * t.sf(_smallest_t(np.append(rss, total), n, subsets), n - k)
    allowed = np.flatnonzero(largest_p <= PAPER_P)
    candidates = allowed if len(allowed) else np.arange(len(subsets))
    return Criteria(
        r2=r2,
        adjusted_r2=1 - (1 - r2) * (n - 1) / (n - k),
        aic=-2 * log_likelihood + 2 * k,
        aicc=-2 * log_likelihood + 2 * k * n / (n - k - 1),
        bic=-2 * log_likelihood + np.log(n) * k,
        largest_p=largest_p,
        paper=int(candidates[np.argmax(r2[candidates])]),
    )


def _smallest_t(rss: FloatArray, n: int, subsets: Subsets) -> FloatArray:
    """Return (m,) the smallest |t| in each subset: what RSS gains when a column is left out."""
    smallest = np.full(len(subsets), np.inf)
    codes = (subsets.masks * 2 ** np.arange(subsets.masks.shape[1])).sum(axis=1)
    scale = rss[:-1] / (n - subsets.sizes - 1)
    for column in range(subsets.masks.shape[1]):
        inside = np.flatnonzero(subsets.masks[:, column])
        without = subsets.place[codes[inside] - 2**column]
        gain = np.maximum(rss[without] - rss[inside], 0)
        smallest[inside] = np.minimum(smallest[inside], np.sqrt(gain / scale[inside]))
    return smallest
