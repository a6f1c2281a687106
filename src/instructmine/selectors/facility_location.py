"""Choose what represents the whole pool best."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector, execution
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_BATCH = 256  # candidates whose gain is renewed in one matrix product, at most
_BLOCK = 2**24  # similarities in such a product: 64 MB
_DECIMALS = 4  # noise of a sum of float32 similarities
_MEBIBYTE = 2**20

Entries = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]  # rows, similarities to them


@dataclass(frozen=True, kw_only=True)
class FacilityLocation(Selector):
    """Greedy maximisation of facility location, within (1 − 1/e) of the best set.

    The objective is the sum over all candidates of the cosine (not below 0) to the nearest
    chosen one; each step takes the candidate that adds most, the better one of two equal ones.
    Lazy (Minoux 1978): gains only shrink, so an old gain is an upper bound and few are renewed.
    The choice is that of the plain greedy algorithm. Grows as n² × d for the first pass plus
    n × d per renewed gain; memory is the embeddings, a block, and `memory_mib`, never n².

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
        self.columns = _Columns(vectors, memory)

    def run(self, wanted: int) -> IntArray:
        """Return the first `wanted` picks, or fewer once nothing adds anything."""
        if not wanted:
            return np.empty(0, dtype=np.int64)
        bound = self.columns.first_gains()
        batch_size = _batch_size(len(bound))
        renewed = np.zeros(len(bound), dtype=np.int64)  # number of picks each gain is valid for
        chosen: list[int] = []
        while len(chosen) < wanted:
            best = int(np.argmax(bound))
            if bound[best] <= 0:  # the rest adds nothing: it follows by quality
                break
            if renewed[best] == len(chosen):
                chosen.append(best)
                self.columns.choose(best)
                bound[best] = -np.inf
                continue
            stale = np.where(renewed == len(chosen), -np.inf, bound)
            size = min(batch_size, len(bound))
            batch = np.argpartition(-stale, size - 1)[:size]
            batch = np.sort(batch[stale[batch] > 0])
            bound[batch] = self.columns.gains(batch)
            renewed[batch] = len(chosen)
        return np.array(chosen, dtype=np.int64)


def _batch_size(rows: int) -> int:
    return max(16, min(_BATCH, _BLOCK // rows))


class _Columns:
    """What each candidate could still add: its similarities above what is covered already.

    Coverage only grows, so a similarity once covered never counts again. A column is computed
    whole, kept as the few entries that still count, and shrinks at every use; when the room is
    full the least recently used column is forgotten, to be computed anew if it is asked for.
    """

    def __init__(self, vectors: FloatMatrix, room: int) -> None:
        self.vectors = vectors
        self.covered = np.zeros(len(vectors), dtype=np.float32)
        self.kept: OrderedDict[int, Entries] = OrderedDict()
        self.room = room

    def first_gains(self) -> npt.NDArray[np.float64]:
        """Return every candidate's gain on the empty set: one pass over all pairs, in blocks."""
        gains = np.empty(len(self.vectors))
        step = _batch_size(len(gains))
        for start in range(0, len(gains), step):
            block = self.vectors[start : start + step] @ self.vectors.T
            np.maximum(block, 0, out=block)
            gains[start : start + len(block)] = block.sum(axis=1, dtype=np.float64)
        return np.round(gains, _DECIMALS)

    def gains(self, wanted: IntArray) -> npt.NDArray[np.float64]:
        """Return what each candidate would add to the objective."""
        held = [self._take(one) for one in wanted.tolist()]
        missing = [one for one, entries in zip(wanted.tolist(), held, strict=True) if not entries]
        dense = iter(self.vectors[missing] @ self.vectors.T if missing else ())
        gains = np.empty(len(wanted))
        for place, entries in enumerate(held):
            if entries is None:
                whole = next(dense)
                rows = np.flatnonzero(whole > self.covered).astype(np.int32)
                values = whole[rows]
                added = values - self.covered[rows]
            else:
                rows, values = entries
                added = values - self.covered[rows]
                useful = added > 0
                rows, values, added = rows[useful], values[useful], added[useful]
            gains[place] = added.sum(dtype=np.float64)
            self._keep(int(wanted[place]), (rows, values))
        # Below the noise of float32 similarities two gains count as equal, and quality decides.
        return np.round(gains, _DECIMALS)

    def choose(self, candidate: int) -> None:
        """Cover what the candidate covers better than all before it."""
        entries = self._take(candidate)
        if entries is None:
            np.maximum(self.covered, self.vectors @ self.vectors[candidate], out=self.covered)
        else:
            rows, values = entries
            self.covered[rows] = np.maximum(self.covered[rows], values)

    def _take(self, candidate: int) -> Entries | None:
        entries = self.kept.pop(candidate, None)
        if entries is not None:
            self.room += _size(entries)
        return entries

    def _keep(self, candidate: int, entries: Entries) -> None:
        self.kept[candidate] = entries
        self.room -= _size(entries)
        while self.room < 0 and self.kept:
            self.room += _size(self.kept.popitem(last=False)[1])


def _size(entries: Entries) -> int:
    return entries[0].nbytes + entries[1].nbytes
