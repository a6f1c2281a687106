"""Finds rows that say the same thing twice: exact copies by id, near copies by their words."""

from __future__ import annotations

import math
import tempfile
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError
from instructmine.ids import order_by, sort_ties
from instructmine.ids import words as words_of
from instructmine.pool import Example
from instructmine.shingles import WordHasher, ngrams, words

IntArray = npt.NDArray[np.int64]
ShingleSet = npt.NDArray[np.uint32]  # sorted, each once

SHINGLE_WORDS = 2  # words per shingle: one changed word in twenty keeps two texts alike
_SMALLEST_TABLE, _LARGEST_TABLE = 2**22, 2**26  # slots of the frequency table: 16 MB to 256 MB
_COUNTED = 2**22  # shingles counted at once
_SLACK = 1e-9  # a similarity of exactly the threshold counts, whatever float makes of it


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
    order, first = order_by(*words_of(ids))
    if quality is not None:
        order, _ = sort_ties(order, first, quality)
    rows = np.arange(len(ids))
    keeper = order[np.maximum.accumulate(np.where(first, rows, 0))] if len(ids) else rows
    of = np.full(len(ids), -1, dtype=np.int64)
    of[order] = np.where(first, -1, keeper)
    return Duplicates(of, np.where(of >= 0, 1.0, 0.0))


def text_of(example: Example) -> str:
    """Return the text that near copies are compared by: all messages, in order."""
    return "\n".join(message.content for message in example.messages)


def near_duplicates(
    texts: Iterable[str],
    ids: npt.NDArray[np.bytes_],
    quality: npt.NDArray[np.float64] | None = None,
    *,
    threshold: float = 0.8,
) -> Duplicates:
    """Find rows whose words nearly equal those of a better row that is kept.

    Rows are walked best quality first, ties by id. A row is a duplicate when the Jaccard
    similarity of its two-word shingles to those of a *kept* row reaches the threshold; it is
    attributed to the most similar one. So no kept two are alike, every duplicate is like the
    row named for it, and the result does not depend on row order or chance.

    Candidates come from prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007): two sets
    that alike must share one of each other's few rarest shingles. Unlike MinHash that misses no
    pair, so the result is exact. Texts are read once, as a stream; their shingles (4 bytes a
    word) lie in a temporary file, and memory holds only the rarest ones of each text.

    Args:
        texts: n texts, aligned with ids; see `text_of`.
        ids: (n,) example ids, to break ties.
        quality: (n,) lower is better, NaN last; None counts as all equal.
        threshold: smallest Jaccard similarity of a duplicate, in (0, 1].

    Raises:
        UsageError: the threshold is not in (0, 1].
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"the near-duplicate threshold must be in (0, 1], not {threshold}")
    with tempfile.TemporaryFile(prefix="instructmine-") as file:
        shingles = _Shingles(file, texts)
        if len(shingles) != len(ids):
            raise ValueError(f"{len(shingles)} texts for {len(ids)} ids")
        keys = words_of(ids) if quality is None else [quality, *words_of(ids)]
        return _walk(shingles, order_by(*keys)[0], threshold)


class _Shingles:
    """The shingle sets of all texts, on disk, and how frequent a shingle is."""

    def __init__(self, file: IO[bytes], texts: Iterable[str]) -> None:
        hasher = WordHasher()
        sizes = array("q", [0])
        for text in texts:
            found = _shingle_set(text, hasher)
            file.write(found.tobytes())
            sizes.append(len(found))
        file.flush()
        self._starts = np.cumsum(np.frombuffer(sizes, dtype=np.int64))
        self.sizes = np.diff(self._starts)
        total = int(self._starts[-1])
        self._all = (
            np.memmap(file, dtype=np.uint32, mode="r", shape=(total,))
            if total
            else np.empty(0, dtype=np.uint32)
        )
        self._frequency = _frequencies(self._all)

    def __len__(self) -> int:
        return len(self.sizes)

    def of(self, row: int) -> ShingleSet:
        """Return the shingles of a text."""
        return np.asarray(self._all[self._starts[row] : self._starts[row + 1]])

    def rarest(self, own: ShingleSet, count: int) -> list[int]:
        """Return those of the `count` rarest shingles that another text may have too.

        Slots of the table are shared, so a frequency may be too high but never too low; any
        fixed order makes the filter exact, a rough one only makes it slower.
        """
        frequency = self._frequency[own % len(self._frequency)]
        order = np.lexsort((own, frequency))[:count]
        shared = own[order[frequency[order] > 1]]
        return [int(shingle) for shingle in shared]


def _frequencies(shingles: ShingleSet) -> npt.NDArray[np.int32]:
    """Count shingles in a table with a slot for each, as far as that is not too large."""
    slots = _SMALLEST_TABLE
    while slots < min(len(shingles), _LARGEST_TABLE):
        slots *= 2
    frequency = np.zeros(slots, dtype=np.int32)
    for start in range(0, len(shingles), _COUNTED):
        found, count = np.unique(shingles[start : start + _COUNTED] % slots, return_counts=True)
        frequency[found] += count.astype(np.int32)
    return frequency


def _shingle_set(text: str, hasher: WordHasher) -> ShingleSet:
    found = words(text)
    if not found:  # only signs: the text itself is its one shingle
        found = [text.strip()]
    hashes = ngrams(hasher.hashes(found), min(SHINGLE_WORDS, len(found)))
    return np.unique((hashes >> np.uint64(32)).astype(np.uint32))


def _walk(shingles: _Shingles, order: IntArray, threshold: float) -> Duplicates:
    of = np.full(len(shingles), -1, dtype=np.int64)
    similarity = np.zeros(len(shingles))
    kept = _Kept(shingles, order, threshold)
    for place, row in enumerate(order.tolist()):
        found = kept.sharing(place)
        # Better ones first: of equally similar ones the best is named.
        rows = order[np.sort(np.fromiter(found, dtype=np.int64, count=len(found)))]
        size = shingles.sizes[row]
        sizes = shingles.sizes[rows]
        rows = rows[np.minimum(sizes, size) >= threshold * np.maximum(sizes, size) - _SLACK]
        if len(rows):
            jaccard = _jaccard(shingles.of(row), rows, shingles)
            nearest = int(np.argmax(jaccard))
            if jaccard[nearest] >= threshold - _SLACK:
                of[row] = rows[nearest]
                similarity[row] = jaccard[nearest]
                continue
        kept.add(place)
    return Duplicates(of, similarity)


class _Kept:
    """Which kept rows have a rare shingle: a chain of them per shingle, 12 bytes per link.

    A link is one of the rarest shingles of one row; rows are places in the order of the walk.
    """

    def __init__(self, shingles: _Shingles, order: IntArray, threshold: float) -> None:
        rare = array("I")
        ends = array("q", [0])
        for row in order.tolist():
            own = shingles.of(row)
            rare.extend(
                shingles.rarest(own, len(own) - math.ceil(threshold * len(own) - _SLACK) + 1)
            )
            ends.append(len(rare))
        shingle = np.frombuffer(rare, dtype=np.uint32)
        frequency = _frequencies(shingle)
        shared = frequency[shingle % len(frequency)] > 1  # what only one row has leads nowhere
        before = np.concatenate([[0], np.cumsum(shared)])
        self._ends = array("q", before[np.frombuffer(ends, dtype=np.int64)].tobytes())
        chains, chain = np.unique(shingle[shared], return_inverse=True)
        self._chain = array("I", chain.astype(np.uint32).tobytes())
        self._next = array("I", bytes(4 * len(self._chain)))  # link + 1, 0 at the end
        self._place = array("I", bytes(4 * len(self._chain)))
        self._first = array("I", bytes(4 * len(chains)))  # of each chain, link + 1

    def sharing(self, place: int) -> set[int]:
        """Return the places of kept rows that share a rare shingle with a row."""
        found: set[int] = set()
        for link in range(self._ends[place], self._ends[place + 1]):
            other = self._first[self._chain[link]]
            while other:
                found.add(self._place[other - 1])
                other = self._next[other - 1]
        return found

    def add(self, place: int) -> None:
        """Keep a row."""
        for link in range(self._ends[place], self._ends[place + 1]):
            self._place[link] = place
            self._next[link] = self._first[self._chain[link]]
            self._first[self._chain[link]] = link + 1


def _jaccard(own: ShingleSet, rows: IntArray, shingles: _Shingles) -> npt.NDArray[np.float64]:
    """Return the Jaccard similarity of one text to others."""
    others = [shingles.of(row) for row in rows.tolist()]
    sizes = np.array([len(other) for other in others])
    joined = np.concatenate(others)
    place = np.minimum(np.searchsorted(own, joined), len(own) - 1)
    common = np.add.reduceat((own[place] == joined).astype(np.int64), np.cumsum(sizes) - sizes)
    return np.asarray(common / (len(own) + sizes - common), dtype=np.float64)
