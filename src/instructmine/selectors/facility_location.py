"""Choose what represents the whole pool best."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector, execution
from instructmine.errors import UsageError
from instructmine.neighbours import ClusterSearch, Search
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

    exact_rows: among more candidates a row counts for its `neighbours` nearest alone, which are
    searched approximately: about n^1.5 × d, and 8 bytes × `neighbours` per row. recall: smallest
    share of true neighbours found on a sample; what was reached is said.

    Not covered: quality. It breaks ties only; choose inside the better half (`within`).
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})
    memory_mib: int = execution(512)
    exact_rows: int = 100_000
    neighbours: int = 64
    recall: float = 0.95

    def __post_init__(self) -> None:
        """Refuse no neighbours, and a recall that is none."""
        if self.neighbours < 1:
            raise UsageError(
                f"facility-location.neighbours must be at least 1, not {self.neighbours}"
            )
        if not 0 < self.recall <= 1:
            raise UsageError(f"facility-location.recall must be in (0, 1], not {self.recall}")

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank greedily; with a limit the greedy choice ends there. The seed does not matter."""
        order = candidates.by_quality()
        vectors = embeddings(candidates, "facility-location", order)
        wanted = places(candidates, limit)
        if len(order) <= self.exact_rows:
            walk = _LazyGreedy(vectors, self.memory_mib * _MEBIBYTE)
            return ranking(candidates, order[walk.run(wanted)])
        count = min(self.neighbours, len(order) - 1)
        chosen, search = among_neighbours(vectors, wanted, count, self.recall)
        note = (
            f"facility-location counted each of {len(order):,} candidates for its {count} nearest "
            f"alone, {search.explain()}"
        )
        return ranking(candidates, order[chosen], (note,))


def among_neighbours(
    vectors: FloatMatrix, wanted: int, count: int, recall: float
) -> tuple[IntArray, Search]:
    """Choose greedily where a row is covered by itself and its nearest rows only.

    Returns the first `wanted` picks, or fewer once nothing adds anything, and how the nearest
    were searched.
    """
    from scipy.sparse import csr_array

    found = ClusterSearch(vectors, count, recall)
    rows = len(vectors)
    near = np.empty((rows, count + 1), dtype=np.int32)
    similar = np.empty((rows, count + 1), dtype=np.float32)
    near[:, 0], similar[:, 0] = np.arange(rows), 1
    for block, which, distance in found.blocks():
        # Of unit vectors; a place that was not filled is the row itself, at no similarity.
        near[block, 1:] = np.where(which < 0, near[block, :1], which)
        similar[block, 1:] = np.where(which < 0, 0, np.maximum(1 - distance / 2, 0))
    starts = np.arange(rows + 1, dtype=np.int64) * (count + 1)
    covers = csr_array((similar.ravel(), near.ravel(), starts), shape=(rows, rows)).tocsc()
    del near, similar
    return _lazily(covers.indptr, covers.indices, covers.data, wanted), found.search


def _lazily(begins: IntArray, rows: IntArray, values: Any, wanted: int) -> IntArray:
    """Run the lazy greedy over columns of similarities: candidate → rows it covers."""
    covered = np.zeros(len(begins) - 1, dtype=np.float32)
    gains = np.round(np.add.reduceat(values.astype(np.float64), begins[:-1]), _DECIMALS)
    queue = [(-gain, one, 0) for one, gain in enumerate(gains.tolist())]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < wanted:
        bound, one, renewed = heapq.heappop(queue)
        if bound >= 0:  # the rest adds nothing: it follows by quality
            break
        part = slice(begins[one], begins[one + 1])
        if renewed == len(chosen):
            chosen.append(one)
            own = rows[part]
            covered[own] = np.maximum(covered[own], values[part])
            continue
        added = np.maximum(values[part] - covered[rows[part]], 0).sum(dtype=np.float64)
        heapq.heappush(queue, (-round(float(added), _DECIMALS), one, len(chosen)))
    return np.array(chosen, dtype=np.int64)


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
