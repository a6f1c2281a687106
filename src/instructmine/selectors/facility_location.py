"""Choose what represents the whole pool best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector, execution
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_BATCH = 64  # candidates whose gain is renewed in one matrix product
_MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(Selector):
    """Greedy maximisation of facility location, within (1 − 1/e) of the best set.

    The objective is the sum over all candidates of the cosine (not below 0) to the nearest
    chosen one; each step takes the candidate that adds most, the better one of two equal ones.
    Lazy (Minoux 1978): gains only shrink, so an old gain is an upper bound and few are renewed.
    The choice is that of the plain greedy algorithm. Grows as n² × d for the first pass plus
    n × d per renewed gain; memory is the embeddings plus `memory_mib`, never n².

    Not covered: quality. It breaks ties only; choose inside the better half (`within`).
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})
    memory_mib: int = execution(512)

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank greedily; with a limit the greedy choice ends there. The seed does not matter."""
        order = candidates.by_quality()
        vectors = embeddings(candidates, "facility-location", order)
        walk = _LazyGreedy(vectors, self.memory_mib * _MEBIBYTE)
        return ranking(candidates, order[walk.run(places(candidates, limit))])


class _LazyGreedy:
    """The state of one greedy run: how well each row is covered, and bounds on every gain."""

    def __init__(self, vectors: FloatMatrix, memory: int) -> None:
        self.vectors = vectors
        self.covered = np.zeros(len(vectors), dtype=np.float32)
        self.columns = _ColumnCache(vectors, memory)

    def run(self, wanted: int) -> IntArray:
        """Return the first `wanted` picks, or fewer once nothing adds anything."""
        if not wanted:
            return np.empty(0, dtype=np.int64)
        bound = self._first_gains()
        renewed = np.zeros(len(bound), dtype=np.int64)  # number of picks each gain is valid for
        chosen: list[int] = []
        while len(chosen) < wanted:
            best = int(np.argmax(bound))
            if bound[best] <= 0:  # the rest adds nothing: it follows by quality
                break
            if renewed[best] == len(chosen):
                chosen.append(best)
                np.maximum(self.covered, self.columns.get(np.array([best]))[0], out=self.covered)
                bound[best] = -np.inf
                continue
            stale = np.where(renewed == len(chosen), -np.inf, bound)
            size = min(_BATCH, len(bound))
            batch = np.argpartition(-stale, size - 1)[:size]
            batch = np.sort(batch[stale[batch] > 0])
            bound[batch] = self._gains(self.columns.get(batch))
            renewed[batch] = len(chosen)
        return np.array(chosen, dtype=np.int64)

    def _first_gains(self) -> npt.NDArray[np.float64]:
        """Return every candidate's gain on the empty set: one pass over all pairs, in blocks."""
        gains = np.empty(len(self.vectors))
        for start in range(0, len(gains), _BATCH * 4):
            rows = self.vectors[start : start + _BATCH * 4]
            gains[start : start + len(rows)] = self._gains(rows @ self.vectors.T)
        return gains

    def _gains(self, columns: FloatMatrix) -> npt.NDArray[np.float64]:
        """Return what each column of similarities would add to the objective."""
        added = columns - self.covered
        np.maximum(added, 0, out=added)
        # Below the noise of float32 similarities two gains count as equal, and quality decides.
        return np.round(added.sum(axis=1, dtype=np.float64), 4)


class _ColumnCache:
    """Similarities of single candidates to all rows, the least recently used one forgotten."""

    def __init__(self, vectors: FloatMatrix, memory: int) -> None:
        self.vectors = vectors
        room = max(2 * _BATCH, memory // (4 * max(len(vectors), 1)))
        self.slots = np.empty((min(room, len(vectors)), len(vectors)), dtype=np.float32)
        self.slot_of = np.full(len(vectors), -1, dtype=np.int64)
        self.owner = np.full(len(self.slots), -1, dtype=np.int64)
        self.used = np.zeros(len(self.slots), dtype=np.int64)
        self.clock = 0

    def get(self, wanted: IntArray) -> FloatMatrix:
        """Return (len(wanted), n) similarities."""
        self.clock += 1
        held = self.slot_of[wanted]
        self.used[held[held >= 0]] = self.clock
        missing = wanted[held < 0]
        if len(missing):
            slots = np.argpartition(self.used, len(missing) - 1)[: len(missing)]
            old = self.owner[slots]
            self.slot_of[old[old >= 0]] = -1
            self.owner[slots] = missing
            self.slot_of[missing] = slots
            self.slots[slots] = self.vectors[missing] @ self.vectors.T
            self.used[slots] = self.clock
        return self.slots[self.slot_of[wanted]]
