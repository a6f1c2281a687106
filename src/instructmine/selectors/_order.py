"""What every selector shares: one canonical order of work, and the shape of a ranking.

Selectors work on candidates sorted by quality with ties by id, so neither the row order of the
pool nor chance can enter a result, and "the lowest index wins" means "the better one wins".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError
from instructmine.ids import order_by, words
from instructmine.results import Candidates, IntArray, Ranking

FloatMatrix = npt.NDArray[np.float32]


def ranking(candidates: Candidates, chosen: IntArray, notes: tuple[str, ...] = ()) -> Ranking:
    """Return a ranking that begins with `chosen` and goes on by quality, ties by id."""
    chosen = np.asarray(chosen, dtype=np.int64)
    left = np.ones(len(candidates), dtype=bool)
    left[chosen] = False
    by_quality = candidates.by_quality()
    rest = by_quality[left[by_quality]]
    return Ranking(np.concatenate([chosen, rest]).astype(np.int64), len(chosen), notes)


def places(candidates: Candidates, limit: int | None) -> int:
    """Return how many places a greedy selector has to decide."""
    return len(candidates) if limit is None else max(0, min(limit, len(candidates)))


def embeddings(candidates: Candidates, selector: str, rows: IntArray) -> FloatMatrix:
    """Return the embeddings of `rows` in that order, contiguous.

    Raises UsageError when the candidates carry none.
    """
    if candidates.embeddings is None:
        raise UsageError(f"selector '{selector}' needs embeddings; score the indicator 'embedding'")
    return np.ascontiguousarray(candidates.embeddings[rows], dtype=np.float32)


def descending(values: npt.NDArray[np.float64], ids: npt.NDArray[np.bytes_]) -> IntArray:
    """Return positions, largest value first, missing values last, ties by id."""
    return order_by(-values, *words(ids))[0]
