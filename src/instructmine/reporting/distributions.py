"""How the values of one column lie, chosen rows against the rest, and how columns go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

BINS = 30
TAILS = (0.5, 99.5)  # percentiles drawn; what lies beyond is counted into the outer bins
SKEWED = 8.0  # from this ratio of the upper end to the median on, bins are equal in the logarithm


@dataclass(frozen=True)
class Histogram:
    """Shares of rows per bin, in per cent of the rows that have a value.

    edges: (b + 1,). chosen, rest: (b,) each summing to 100, or empty where there are no such rows.
    log: whether bins are equal in the logarithm. beyond: rows counted into the outer bins.
    """

    edges: FloatArray
    chosen: FloatArray
    rest: FloatArray
    log: bool
    beyond: int

    @property
    def centres(self) -> FloatArray:
        """Middle of each bin."""
        left, right = self.edges[:-1], self.edges[1:]
        return np.sqrt(left * right) if self.log else (left + right) / 2


def histogram(values: FloatArray, selected: BoolArray) -> Histogram | None:
    """Bin the values of chosen and other rows alike; None where fewer than two differ."""
    known = np.isfinite(values)
    own, chosen = values[known], selected[known]
    if len(own) < 2 or own.min() == own.max():
        return None
    low, high = np.percentile(own, TAILS)
    if low == high:
        low, high = own.min(), own.max()
    log = bool(low > 0 and high / np.median(own) > SKEWED)
    edges = np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)
    clipped = np.clip(own, edges[0], edges[-1])
    return Histogram(
        edges=edges,
        chosen=_shares(clipped[chosen], edges),
        rest=_shares(clipped[~chosen], edges),
        log=log,
        beyond=int(((own < edges[0]) | (own > edges[-1])).sum()),
    )


def _shares(values: FloatArray, edges: FloatArray) -> FloatArray:
    if not len(values):
        return np.empty(0)
    return np.asarray(100 * np.histogram(values, edges)[0] / len(values))


@dataclass(frozen=True)
class Spread:
    """A column in a few numbers. shift: chosen mean minus pool mean, in standard deviations."""

    known: int
    mean: float
    median: float
    low: float
    high: float
    chosen_mean: float | None
    shift: float | None


def spread(values: FloatArray, selected: BoolArray) -> Spread | None:
    """Describe a column; None where no row has a value. low, high: 5 % and 95 % quantiles."""
    own = values[np.isfinite(values)]
    if not len(own):
        return None
    chosen = values[selected & np.isfinite(values)]
    low, median, high = np.percentile(own, (5, 50, 95))
    deviation = float(own.std())
    mean = float(own.mean())
    taken = float(chosen.mean()) if len(chosen) else None
    return Spread(
        known=len(own),
        mean=mean,
        median=float(median),
        low=float(low),
        high=float(high),
        chosen_mean=taken,
        shift=(taken - mean) / deviation if taken is not None and deviation > 0 else None,
    )


def percentiles(values: FloatArray, places: Sequence[int]) -> list[int | None]:
    """Return for some rows the share of known values at or below theirs, in whole per cent."""
    order = np.sort(values[np.isfinite(values)])
    if not len(order):
        return [None] * len(places)
    own = values[np.asarray(places, dtype=np.int64)]
    below = 100 * np.searchsorted(order, own, side="right") / len(order)
    return [
        int(round(float(share))) if np.isfinite(value) else None
        for share, value in zip(below, own, strict=True)
    ]


def correlations(columns: Mapping[str, FloatArray]) -> tuple[tuple[str, ...], FloatArray] | None:
    """Return names and Spearman correlations (p, p), alike columns side by side.

    Over rows that have every value. None where fewer than two columns vary.
    Columns are ordered by average linkage on 1 − |correlation|.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform
    from scipy.stats import rankdata

    names = list(columns)
    matrix = np.column_stack([columns[name] for name in names]) if names else np.empty((0, 0))
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    if len(matrix) < 3:
        return None
    varying = matrix.min(axis=0) < matrix.max(axis=0)
    names = [name for name, varies in zip(names, varying, strict=True) if varies]
    if len(names) < 2:
        return None
    ranks = np.apply_along_axis(rankdata, 0, matrix[:, varying])
    found = np.clip(np.corrcoef(ranks, rowvar=False), -1, 1)
    distance = 1 - np.abs(found)
    np.fill_diagonal(distance, 0)
    order = leaves_list(linkage(squareform(distance, checks=False), "average"))
    return tuple(names[place] for place in order), found[np.ix_(order, order)]
