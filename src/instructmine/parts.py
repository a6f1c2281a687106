"""Parts of the store: Parquet files of `id, <columns…>, reason, truncated`, read in batches.

Nothing here holds a whole recipe: what is in memory is a batch, and 12 bytes per stored row in
`Places` for those who ask for a few rows of many, again and again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine.errors import StoreError
from instructmine.ids import IdArray, Lookup, first_of_each, id_array, keys

BATCH_ROWS = 65_536
GROUP_ROWS = 8192  # of a merged part: what is read for one id of it
_BATCH_VALUES = 2**24  # numbers in a batch of vectors: 64 MB


@dataclass(frozen=True)
class Part:
    """What is known of a part without reading its rows; `groups` are the rows of its row groups."""

    path: Path
    schema: pa.Schema
    groups: tuple[int, ...]

    @classmethod
    def open(cls, path: Path) -> Part:
        """Read a part's footer. Raises StoreError where the file is damaged."""
        with _reading(path) as file:
            metadata = file.metadata
            groups = (metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
            return cls(path, file.schema_arrow, tuple(groups))

    @property
    def columns(self) -> frozenset[str]:
        """Names of all columns, id, reason and truncated among them."""
        return frozenset(self.schema.names)

    @property
    def seconds(self) -> float:
        """What computing it took."""
        return float((self.schema.metadata or {}).get(b"seconds", b"0"))

    @property
    def facts(self) -> dict[str, Any]:
        """What computing it told about its values as a whole."""
        found = json.loads((self.schema.metadata or {}).get(b"facts", b"{}"))
        assert isinstance(found, dict)
        return found

    def width(self, name: str) -> int | None:
        """Return the length of a column's vectors, None for plain numbers."""
        kind = self.schema.field(name).type
        return kind.list_size if pa.types.is_fixed_size_list(kind) else None

    def batches(
        self, columns: Sequence[str] | None = None, groups: Collection[int] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield batches of all columns or some, of all row groups or some.

        Raises StoreError where the file is damaged.
        """
        widest = max(self.width(name) or 1 for name in self.schema.names)
        with _reading(self.path) as file:
            yield from file.iter_batches(
                batch_size=max(1, min(BATCH_ROWS, _BATCH_VALUES // widest)),
                row_groups=None if groups is None else sorted(groups),
                columns=None if columns is None else list(columns),
                use_threads=False,  # batches read ahead would not be bounded
            )

    def ids(self, groups: Collection[int] | None = None) -> Iterator[IdArray]:
        """Yield the ids in batches."""
        for batch in self.batches(["id"], groups):
            yield id_array(batch.column(0))


def stated(seconds: float, facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a part: what computing it took, and told."""
    told = {"facts": json.dumps(facts, sort_keys=True)} if facts else {}
    return {"seconds": f"{seconds:.6f}", **told}


def facts_of(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the facts of several parts; of one that two state, the earlier part's."""
    return {name: value for part in reversed(parts) for name, value in part.facts.items()}


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a part; what is wrong with it is said in one line, that it is gone is passed on."""
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        why = " ".join(str(error).split())
        raise StoreError(
            f"stored part {path} is damaged ({why}); delete it and run again"
        ) from error


def values_array(column: pa.Array) -> npt.NDArray[Any]:
    """Return a column as (n,) float64, or (n, d) float32 for vectors; NaN where it is null."""
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
    width = column.type.list_size
    result = np.full((len(column), width), np.nan, dtype=np.float32)
    valid = np.asarray(column.is_valid())
    flat = column.drop_null().flatten().to_numpy(zero_copy_only=False)
    result[valid] = flat.reshape(-1, width)
    return result


class Gathering:
    """What is found for some ids, part by part; the first part that has an id counts."""

    def __init__(self, ids: IdArray, columns: Sequence[str], parts: Sequence[Part]) -> None:
        self._lookup = Lookup(ids)
        self.known = {name: np.zeros(len(ids), dtype=bool) for name in columns}
        self.values = {name: _absent(len(ids), name, parts) for name in columns}
        self.truncated = np.zeros(len(ids), dtype=bool)
        self._reasons: dict[str, dict[int, str]] = {name: {} for name in columns}

    def add(self, part: Part, groups: Collection[int] | None) -> None:
        """Take what a part has of the ids."""
        own = [name for name in self.known if name in part.columns]
        if not own:
            return
        for batch in part.batches(["id", *own, "reason", "truncated"], groups):
            where, rows = self._lookup.find(id_array(batch.column("id")))
            if len(rows):
                for name in own:
                    self._take(name, batch, where, rows)

    def _take(self, name: str, batch: pa.RecordBatch, where: Any, rows: Any) -> None:
        fresh = ~self.known[name][rows]
        # Turned round: of repeated rows numpy keeps what is written last.
        where, rows = where[fresh][::-1], rows[fresh][::-1]
        self.values[name][rows] = values_array(batch.column(name))[where]
        self.known[name][rows] = True
        cut = np.asarray(batch.column("truncated").fill_null(False))
        self.truncated[rows[cut[where]]] = True
        reason = batch.column("reason")
        if reason.null_count < len(reason):
            stated = np.asarray(reason.is_valid())[where]
            texts = reason.take(pa.array(where[stated])).to_pylist()
            self._reasons[name].update(zip(rows[stated].tolist(), texts, strict=True))

    def reasons(self) -> dict[int, str]:
        """Return position → reason; where several columns have one, that of the first."""
        merged: dict[int, str] = {}
        for one in self._reasons.values():
            merged = {**one, **merged} if merged else one
        return merged


def _absent(rows: int, name: str, parts: Sequence[Part]) -> npt.NDArray[Any]:
    """Return a column of which nothing is known yet."""
    owner = next((part for part in parts if name in part.columns), None)
    width = owner.width(name) if owner else None
    if width is None:
        return np.full(rows, np.nan)
    return np.full((rows, width), np.nan, dtype=np.float32)


class Places:
    """Which row groups of which parts may hold an id: for small questions to a large recipe."""

    def __init__(self) -> None:
        self._known: set[Path] = set()
        self._units: list[tuple[Path, int]] = []
        self._keys = np.empty(0, dtype=np.uint64)
        self._unit = np.empty(0, dtype=np.uint32)

    def update(self, parts: Sequence[Part]) -> None:
        """Take in the parts that are new; those that are gone do no harm."""
        hashes, units = [self._keys], [self._unit]
        for part in parts:
            if part.path in self._known:
                continue
            for group, rows in enumerate(part.groups):
                found = [keys(ids) for ids in part.ids([group])]
                hashes += found
                units.append(np.full(rows, len(self._units), dtype=np.uint32))
                self._units.append((part.path, group))
            self._known.add(part.path)
        if len(hashes) > 1:
            joined, unit = np.concatenate(hashes), np.concatenate(units)
            order = np.argsort(joined, kind="stable")
            self._keys, self._unit = joined[order], unit[order]

    def of(self, ids: IdArray) -> Mapping[Path, set[int]]:
        """Return part → row groups in which some of the ids may be."""
        wanted = np.unique(keys(ids))
        first = np.searchsorted(self._keys, wanted, side="left")
        last = np.searchsorted(self._keys, wanted, side="right")
        most = int((last - first).max(initial=0))
        found: set[int] = set()
        for step in range(most):
            at = first[first + step < last] + step
            found.update(np.unique(self._unit[at]).tolist())
        places: dict[Path, set[int]] = {}
        for unit in found:
            path, group = self._units[unit]
            places.setdefault(path, set()).add(group)
        return places


def merge(parts: Sequence[Part], out: Path) -> None:
    """Write parts of the same columns as one, the first row of every id, in order."""
    ids = [one for part in parts for one in part.ids()]
    first = first_of_each(np.concatenate(ids))
    seconds = sum(part.seconds for part in parts)
    schema = parts[0].schema.with_metadata(stated(seconds, facts_of(parts)))
    row = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        for part in parts:
            for batch in part.batches(schema.names):
                waiting.append(batch.filter(pa.array(first[row : row + len(batch)])))
                row += len(batch)
                if sum(map(len, waiting)) >= GROUP_ROWS:
                    writer.write_table(_joined(waiting, schema))
                    waiting.clear()
        if waiting:
            writer.write_table(_joined(waiting, schema))


def _joined(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches(
        [batch.replace_schema_metadata(schema.metadata) for batch in batches], schema
    )
