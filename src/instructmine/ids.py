"""Sorting and finding ids by the million: eight bytes at a time, without copies of the ids.

An id is 32 bytes (S32). Sorting such strings, or handing them to Python one by one, takes several
times the memory of the ids themselves; their first bytes tell nearly all of them apart.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instructmine.identity import DIGEST_BYTES

IdArray = npt.NDArray[np.bytes_]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 1 << 20  # ids handled at once: 32 MB
_CHUNK = 1 << 24  # ids in one chunk of an Arrow column, whose offsets have 32 bits
_ODD = np.uint64(0x9E3779B97F4A7C15)  # odd, so multiplication loses nothing


def words(ids: IdArray) -> list[npt.NDArray[Any]]:
    """Return the ids as four columns of big-endian integers, (n,) each, which order as they do."""
    whole = np.ascontiguousarray(ids, dtype="S32").view(">u8").reshape(-1, 4)
    return [whole[:, column] for column in range(4)]


def order_by(first: npt.NDArray[Any], *further: npt.NDArray[Any]) -> tuple[IntArray, BoolArray]:
    """Sort rows by several keys, the first one first; NaN last, rows equal in all stay in order.

    As `np.lexsort` with the keys turned round, but each further key is looked at only where all
    before it are equal.

    Returns:
        order: (n,) row numbers. new: (n,) True where a row differs from the one before it.
    """
    native = first.astype(first.dtype.newbyteorder("="), copy=False)
    order = np.argsort(native, kind="stable")
    new = ~_like_previous(native[order])
    for key in further:
        order, new = sort_ties(order, new, key)
    return order, new


def sort_ties(order: IntArray, new: BoolArray, key: npt.NDArray[Any]) -> tuple[IntArray, BoolArray]:
    """Sort an order that `order_by` gave by one more key: only rows that are equal so far move."""
    inside = ~new
    inside[:-1] |= ~new[1:]
    places = np.flatnonzero(inside)
    if not len(places):
        return order, new
    order, new = order.copy(), new.copy()
    rows = order[places]
    values = key[rows]
    turned = np.lexsort((values, np.cumsum(new[places])))
    order[places] = rows[turned]
    new[places] |= ~_like_previous(values[turned])
    return order, new


def _like_previous(values: npt.NDArray[Any]) -> BoolArray:
    like = np.zeros(len(values), dtype=bool)
    np.equal(values[1:], values[:-1], out=like[1:])
    if values.dtype.kind == "f":
        missing = np.isnan(values)
        like[1:] |= missing[1:] & missing[:-1]
    return like


def digest_in_order(ids: IdArray, order: IntArray) -> str:
    """Return `identity.ids_digest` of full-length ids, given the order that sorts them."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for start in range(0, len(order), _BLOCK):
        hasher.update(np.ascontiguousarray(ids[order[start : start + _BLOCK]]).data)
    return hasher.hexdigest()


def first_of_each(ids: IdArray) -> BoolArray:
    """Return (n,) True at the first row of every distinct id."""
    order, new = order_by(*words(ids))
    first = np.zeros(len(ids), dtype=bool)
    first[order[new]] = True
    return first


def id_array(column: pa.Array | pa.ChunkedArray) -> IdArray:
    """Return an Arrow column of ids as (n,) S32, without a copy where they are whole."""
    if isinstance(column, pa.ChunkedArray):
        chunks = [id_array(chunk) for chunk in column.chunks]
        return np.concatenate(chunks) if len(chunks) != 1 else chunks[0]
    if column.null_count == 0 and pa.types.is_string(column.type) and len(column):
        _, offsets, data = column.buffers()
        ends = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        if (np.diff(ends) == 32).all():
            return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].view("S32")
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype="S32")


def id_column(ids: IdArray) -> pa.ChunkedArray:
    """Return full-length ids as an Arrow column of strings that shares their memory."""
    ids = np.ascontiguousarray(ids, dtype="S32")
    chunks = []
    for start in range(0, max(len(ids), 1), _CHUNK):
        part = ids[start : start + _CHUNK]
        ends = np.arange(0, 32 * len(part) + 1, 32, dtype=np.int32)
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(part.view(np.uint8))]
        chunks.append(pa.Array.from_buffers(pa.string(), len(part), buffers))
    return pa.chunked_array(chunks)


def keys(ids: IdArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash per id, (n,): equal ids have equal ones, different ids nearly never."""
    mixed = np.zeros(len(ids), dtype=np.uint64)
    for word in words(ids):
        mixed ^= word.astype(np.uint64)
        mixed *= _ODD
        mixed ^= mixed >> np.uint64(29)
    return mixed


class Lookup:
    """Finds where ids stand in a large array of them; holds 16 bytes a row beside the ids."""

    def __init__(self, ids: IdArray) -> None:
        self._ids = np.ascontiguousarray(ids, dtype="S32")
        hashes = keys(self._ids)
        order, new = order_by(hashes, *words(self._ids))
        starts = np.flatnonzero(new)
        small = np.uint32 if len(order) < 2**32 else np.int64
        self._rows = order.astype(small)
        self._starts = starts.astype(small)
        self._keys = hashes[order[starts]]  # one per distinct id

    def find(self, asked: IdArray) -> tuple[IntArray, IntArray]:
        """Return (position in `asked`, row) for every row that has one of the asked ids.

        In the order of `asked`; an id that stands in several rows, or was asked for several
        times, gives each pair.
        """
        asked = np.ascontiguousarray(asked, dtype="S32")
        if not len(self._keys) or not len(asked):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        wanted = keys(asked)
        run = np.searchsorted(self._keys, wanted)
        found = np.zeros(len(asked), dtype=bool)
        left = np.arange(len(asked))
        while len(left):  # more than once only where two ids share a hash
            left = left[run[left] < len(self._keys)]
            left = left[self._keys[run[left]] == wanted[left]]
            same = self._ids[self._rows[self._starts[run[left]]]] == asked[left]
            found[left[same]] = True
            left = left[~same]
            run[left] += 1
        position = np.flatnonzero(found)
        return self._spread(position, run[position])

    def _spread(self, position: IntArray, run: IntArray) -> tuple[IntArray, IntArray]:
        """Return a pair for each row of a run of equal ids."""
        begin = self._starts[run].astype(np.int64)
        last = run + 1 == len(self._starts)
        end = np.where(last, len(self._rows), self._starts[np.where(last, 0, run + 1)])
        count = end.astype(np.int64) - begin
        within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        rows = self._rows[np.repeat(begin, count) + within].astype(np.int64)
        return np.repeat(position, count), rows
