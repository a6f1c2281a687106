"""One pass over a pool that notes which example stands in which row."""

from __future__ import annotations

import json
import shutil
import tempfile
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from instructmine.contracts import IdArray, Progress
from instructmine.errors import PoolError
from instructmine.files import publish
from instructmine.formats import Pool
from instructmine.ids import digest_in_order, order_by, words
from instructmine.pool import Example, PoolRow

_REJECTED_BYTES = 2**24  # of rejected rows that are held in memory
_KEPT_BYTES = 2**23  # of examples that are kept for the next call
_EXAMPLE_BYTES = 700  # of an example without its texts, about


class RowMask(Collection[int]):
    """A set of row numbers as one byte per row of the file: small for the whole of a large pool."""

    def __init__(self, rows: npt.NDArray[np.int64]) -> None:
        self._mask = bytearray(int(rows.max()) + 1)
        np.frombuffer(self._mask, dtype=np.uint8)[rows] = 1
        self._rows = rows

    def __contains__(self, row: object) -> bool:
        return isinstance(row, int) and row < len(self._mask) and self._mask[row] == 1

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows.tolist())

    def __len__(self) -> int:
        return len(self._rows)


class RejectedRows:
    """Rows that could not be read, as lines of JSON: in memory while few, then in a file."""

    def __init__(self) -> None:
        self.first: PoolRow | None = None
        self._count = 0
        self._lines = tempfile.SpooledTemporaryFile(_REJECTED_BYTES, prefix="instructmine-")  # noqa: SIM115

    def add(self, row: PoolRow) -> None:
        """Note a row."""
        self.first = self.first or row
        self._count += 1
        entry = {
            "source": row.source,
            "row": row.row,
            "reason": row.rejection,
            "raw": row.raw.encode("utf-8", "replace").decode(),
        }
        self._lines.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())

    def __len__(self) -> int:
        return self._count

    def copy_to(self, handle: BinaryIO) -> None:
        """Write all lines, in the order in which they were added."""
        self._lines.seek(0)
        shutil.copyfileobj(self._lines, handle)


@dataclass(frozen=True)
class PoolIndex:
    """Every readable row of a pool, in pool order, without its text (about 50 bytes a row).

    ids: (n,) S32. source: (n,) position in `sources`. row: (n,) 0-based row in its file.
    """

    pool: Pool
    sources: tuple[str, ...]
    ids: IdArray
    source: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    rejected: RejectedRows
    _kept: dict[int, Example] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """Number of readable rows."""
        return len(self.ids)

    @property
    def digest(self) -> str:
        """Digest of the pool's ids with repeats, whatever their order."""
        return self._sorted[0]

    @cached_property
    def _sorted(self) -> tuple[str, npt.NDArray[np.bool_]]:
        """What one sort of the ids tells: their digest, and where each occurs first."""
        order, new = order_by(*words(self.ids))
        first = np.zeros(len(self), dtype=bool)
        first[order[new]] = True
        return digest_in_order(self.ids, order), first

    def place(self, position: int) -> str:
        """Return where a row stands, as FILE:ROW."""
        return f"{self.sources[self.source[position]]}:{self.row[position]}"

    def first_occurrence(self) -> npt.NDArray[np.bool_]:
        """Return (n,) bool: True at the first row of every distinct id."""
        return self._sorted[1]

    def examples(self, wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[int, Example]]:
        """Yield (position, example) for the wanted rows, streaming the pool once more.

        Few rows are kept for the next call: a pool that has grown is asked for the same new rows
        by every indicator, and each time the whole file would be parsed for them.

        Raises PoolError when a file has changed since it was indexed.
        """
        positions = np.flatnonzero(wanted)
        if len(positions) <= len(self._kept) and all(p in self._kept for p in positions.tolist()):
            yield from [(p, self._kept[p]) for p in positions.tolist()]
            return
        kept: dict[int, Example] = {}
        room = _KEPT_BYTES
        for position, example in self._read(positions):
            if room > 0:
                room -= _EXAMPLE_BYTES + sum(len(message.content) for message in example.messages)
                kept[position] = example
            yield position, example
        if room > 0:
            self._kept.clear()
            self._kept.update(kept)

    def _read(self, positions: npt.NDArray[np.intp]) -> Iterator[tuple[int, Example]]:
        places = {
            self.sources[code]: RowMask(self.row[own])
            for code in np.unique(self.source[positions])
            for own in [positions[self.source[positions] == code]]
        }
        for position, row in zip(positions, self.pool.rows_at(places), strict=True):
            if row.example is None or row.example.id.encode() != self.ids[position]:
                raise PoolError(f"{row.source} changed while it was read; run again")
            yield int(position), row.example


def index_pool(pool: Pool, progress: Progress | None = None) -> PoolIndex:
    """Read a pool once. Raises PoolError when it holds no readable example."""
    ids = bytearray()
    source, rows = array("i"), array("q")
    sources: dict[str, int] = {}
    rejected = RejectedRows()
    for count, row in enumerate(pool, start=1):
        code = sources.setdefault(row.source, len(sources))
        if row.example is None:
            rejected.add(row)
        else:
            ids += row.example.id.encode()
            source.append(code)
            rows.append(row.row)
        if progress is not None and count % 5000 == 0:
            progress("reading", count, 0)
    if not rows:
        first = rejected.first
        why = f"; row {first.row}: {first.rejection}" if first else ""
        raise PoolError(f"no readable example in {', '.join(sources) or 'the pool'}{why}")
    index = PoolIndex(
        pool=pool,
        sources=tuple(sources),
        ids=np.frombuffer(ids, dtype="S32"),
        source=np.frombuffer(source, dtype=np.int32),
        row=np.frombuffer(rows, dtype=np.int64),
        rejected=rejected,
    )
    index.first_occurrence()  # all ask for it, and sorting is cheapest while nothing else is held
    return index


def write_rejected(path: Path, rejected: RejectedRows) -> None:
    """Write the rows that could not be read: source, row, reason and the text, clipped."""
    with publish(path) as temporary, temporary.open("wb") as handle:
        rejected.copy_to(handle)
