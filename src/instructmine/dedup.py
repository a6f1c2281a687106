"""Finds rows that say the same thing twice: exact copies by id, near copies by their words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Duplicates:
    """What was found: for every row the row that stands for it.

    of: (n,) position of the kept row that a row duplicates, -1 where the row itself is kept.
    similarity: (n,) Jaccard similarity to that row, 1 for exact copies, 0 where kept.
    """

    of: IntArray
    similarity: npt.NDArray[np.float64]

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """(n,) True where the row is kept."""
        return self.of < 0

    def __len__(self) -> int:
        """Number of duplicates: rows that are not kept."""
        return int(np.count_nonzero(self.of >= 0))


def exact_duplicates(
    ids: npt.NDArray[np.bytes_], quality: npt.NDArray[np.float64] | None = None
) -> Duplicates:
    """Find rows that share an id; the best quality of each is kept, of equals the first.

    Args:
        ids: (n,) example ids.
        quality: (n,) lower is better, NaN last; None keeps the first of each.
    """
    rows = np.arange(len(ids))
    best_first = rows if quality is None else np.lexsort((rows, quality))
    order = best_first[np.argsort(ids[best_first], kind="stable")]
    first = np.ones(len(ids), dtype=bool)
    first[1:] = ids[order][1:] != ids[order][:-1]
    keeper = order[np.maximum.accumulate(np.where(first, rows, 0))] if len(ids) else rows
    of = np.full(len(ids), -1, dtype=np.int64)
    of[order] = np.where(first, -1, keeper)
    return Duplicates(of, np.where(of >= 0, 1.0, 0.0))
