"""Score first, then diversity: the filter of DEITA."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_BLOCK = 1024  # rows compared at once: about 4 MB of similarities per thousand chosen


@dataclass(frozen=True, kw_only=True)
class Deita(Selector):
    """Walks down the quality order and skips what is too like something already chosen.

    A candidate is skipped when its cosine to a *chosen* one exceeds `threshold` (DEITA, Liu et
    al. 2024, arXiv 2312.15685: 0.9), so exactly one of two duplicates stays. Skipped ones go
    behind, by quality. Grows as rows looked at × places × d; memory is a few blocks.
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})
    threshold: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a threshold that is no cosine."""
        if not -1 <= self.threshold <= 1:
            raise UsageError(f"deita.threshold must be a cosine, not {self.threshold}")

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank greedily; with a limit the walk ends when that many are chosen."""
        order = candidates.by_quality()
        vectors = embeddings(candidates, "deita", order)
        return ranking(candidates, order[self._walk(vectors, places(candidates, limit))])

    def _walk(self, vectors: FloatMatrix, wanted: int) -> IntArray:
        chosen: list[int] = []
        kept = np.empty((0, vectors.shape[1]), dtype=np.float32)  # the chosen ones, contiguous
        for start in range(0, len(vectors), _BLOCK):
            if len(chosen) >= wanted:
                break
            block = vectors[start : start + _BLOCK]
            free = np.ones(len(block), dtype=bool)
            for first in range(0, len(chosen), 8 * _BLOCK):
                near = block @ kept[first : min(first + 8 * _BLOCK, len(chosen))].T
                free &= near.max(axis=1) <= self.threshold
            inside = block @ block.T > self.threshold
            fresh: list[int] = []
            for row in range(len(block)):
                if free[row]:
                    fresh.append(row)
                    free &= ~inside[row]
            if len(chosen) + len(fresh) > len(kept):  # grow by doubling
                grown = np.empty((2 * (len(chosen) + len(fresh)), vectors.shape[1]), np.float32)
                grown[: len(chosen)] = kept[: len(chosen)]
                kept = grown
            kept[len(chosen) : len(chosen) + len(fresh)] = block[fresh]
            chosen.extend(start + row for row in fresh)
        return np.array(chosen[:wanted], dtype=np.int64)
