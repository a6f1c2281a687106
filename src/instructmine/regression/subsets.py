"""Every subset of the columns fitted at once: 2^p - 1 least-squares models by elimination.

The search over all subsets is repeated for every fold, permutation and resample, so this is the
hot part. Gauss-Jordan elimination of one more column turns the model of a subset into that of a
larger one; each subset is reached once, and every step runs over all data sets ("lanes") at once.
The idea of walking the subsets this way is Furnival & Wilson 1974, "Regressions by leaps and
bounds"; nothing is skipped here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_JITTER = 1e-10
"""Relative addition to the diagonal: a resample with too few distinct rows is singular, and one
such model must not end a batch. On standardised columns it is far below any reported digit."""


@dataclass(frozen=True)
class Subsets:
    """All non-empty subsets of p columns, smaller ones first, then in the order of the columns.

    masks: (m, p) bool. place: (2^p,) position in `masks` by bit code (bit j is column j); the
    empty subset has place -1.
    """

    masks: BoolArray
    place: IntArray

    @classmethod
    def of(cls, p: int) -> Subsets:
        """List the 2^p - 1 subsets of p columns."""
        codes = np.arange(1, 2**p)
        masks = (codes[:, None] >> np.arange(p)) & 1 == 1
        order = np.lexsort((*(~masks.T)[::-1], masks.sum(axis=1)))  # the size is the first key
        place = np.full(2**p, -1)
        place[codes[order]] = np.arange(len(order))
        return cls(masks[order], place)

    def __len__(self) -> int:
        """Number of subsets."""
        return len(self.masks)

    @property
    def sizes(self) -> IntArray:
        """(m,) number of columns of each subset."""
        return np.asarray(self.masks.sum(axis=1))


def design(x: FloatArray) -> FloatArray:
    """Return (n, p + 1): a column of ones, then the columns standardised over all n rows.

    An intercept makes least squares invariant to it, and the Gram matrix stays well conditioned.
    """
    spread = x.std(axis=0)
    return np.column_stack([np.ones(len(x)), (x - x.mean(axis=0)) / np.where(spread, spread, 1.0)])


def normal_equations(z: FloatArray, y: FloatArray, weights: FloatArray) -> FloatArray:
    """Return [Z'WZ | Z'WY] as (q, q + b, lanes) for many weightings of the same n rows.

    z: (n, q) design. y: (n, b) responses. weights: (lanes, n); 0 leaves a row out.
    """
    n, q = z.shape
    both = np.column_stack([z, y])
    products = (z[:, :, None] * both[:, None, :]).reshape(n, -1)
    system = (products.T @ weights.T).reshape(q, both.shape[1], len(weights))
    system[np.arange(q), np.arange(q)] *= 1 + _JITTER
    system[np.arange(q), np.arange(q)] += _JITTER
    return system


def eliminate(system: FloatArray, rows: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """Yield (code of the subset, what is left of `rows`) for the empty and every other subset.

    system: (q, q + b, lanes) as `normal_equations` gives it. rows: (t, q + b, lanes), each the
    design and the responses of one observation; what is left is (t, b, lanes): the responses
    minus the prediction of the least-squares fit on the subset. The intercept is always in.
    The row [y'Z | y'y] instead of an observation leaves the residual sum of squares.
    """
    b = system.shape[1] - system.shape[0]
    system, rows = _pivot(system, rows, 0)
    yield 0, rows[:, -b:]
    yield from _grow(0, 0, system, rows, b)


def _grow(
    code: int, first: int, system: FloatArray, rows: FloatArray, b: int
) -> Iterator[tuple[int, FloatArray]]:
    """Add each of the columns from `first` on to the subset `code`, and go on from there."""
    for step in range(len(system)):
        smaller, left = _pivot(system, rows, step)
        larger = code | 1 << (first + step)
        yield larger, left[:, -b:]
        yield from _grow(larger, first + step + 1, smaller, left, b)


def _pivot(system: FloatArray, rows: FloatArray, step: int) -> tuple[FloatArray, FloatArray]:
    """Eliminate one column; what lies before it can join no later subset and is dropped."""
    pivot = system[step, step + 1 :] / system[step, step]
    return (
        system[step + 1 :, step + 1 :] - system[step + 1 :, step, None] * pivot,
        rows[:, step + 1 :] - rows[:, step, None] * pivot,
    )
