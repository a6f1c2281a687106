"""The store of scores: append-only Parquet parts per recipe, keyed by example id.

    WORKDIR/scores/<recipe key>/recipe.json
    WORKDIR/scores/<recipe key>/parts/<time>-<random>.parquet     id, <columns…>, reason, truncated

A part is written beside its place and renamed into it, so what exists is complete; nothing is
ever changed in place, so any number of processes may read and add. Two processes that compute
the same example add it twice, and the earlier part counts. Resuming is asking
again which ids are missing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from instructmine.errors import StoreError
from instructmine.files import publish
from instructmine.recipes import Recipe

STALE_TEMPORARY_SECONDS = 24 * 3600  # a temporary this old belongs to a dead process


@dataclass(frozen=True)
class Stored:
    """What the store knows about n ids, aligned with them.

    values: column → (n,) float64 or (n, d) float32, NaN where null or absent.
    present: (n,) bool, True where every asked column has been computed (even if null).
    reasons: position → why a value is null. truncated: (n,) bool.
    """

    values: Mapping[str, npt.NDArray[Any]]
    present: npt.NDArray[np.bool_]
    reasons: Mapping[int, str]
    truncated: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StoredRecipe:
    """One recipe on disk: `rows` counts stored rows, repeats included; `used` is a Unix time."""

    recipe: Recipe
    path: Path
    parts: int
    rows: int
    bytes: int
    used: float
    seconds: float

    @property
    def key(self) -> str:
        """The recipe's key."""
        return self.path.name


class Store:
    """Scores on disk under a work folder; cheap to create, safe to share between processes."""

    def __init__(self, workdir: str | Path) -> None:
        """Use `workdir`, creating it. Raises StoreError when it cannot be written."""
        self.root = Path(workdir).expanduser() / "scores"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot use work folder {workdir} ({error.strerror}); give --workdir another one"
            ) from error

    # ── writing ─────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        recipe: Recipe,
        ids: npt.NDArray[np.bytes_],
        values: Mapping[str, npt.NDArray[Any]],
        reasons: Mapping[int, str],
        truncated: frozenset[int] = frozenset(),
        seconds: float = 0.0,
    ) -> Path:
        """Add one part, whole or not at all; `seconds` is what computing it took."""
        reason = [reasons.get(position) for position in range(len(ids))]
        cut = np.zeros(len(ids), dtype=bool)
        cut[list(truncated)] = True
        columns: dict[str, pa.Array] = {"id": pa.array(ids).cast(pa.string())}
        for name, column in values.items():
            columns[name] = _to_arrow(column)
        columns["reason"] = pa.array(reason, pa.string())
        columns["truncated"] = pa.array(cut)
        table = pa.table(columns).replace_schema_metadata({"seconds": f"{seconds:.6f}"})
        return self._write_part(recipe, table, f"{time.time_ns():020d}-{uuid.uuid4().hex}")

    def _write_part(self, recipe: Recipe, table: pa.Table, name: str) -> Path:
        folder = self.root / recipe.key
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        if not (folder / "recipe.json").exists():
            text = json.dumps(
                {"indicator": recipe.indicator, "fields": recipe.fields},
                indent=2,
                ensure_ascii=False,
            )
            with publish(folder / "recipe.json") as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        part = folder / "parts" / f"{name}.parquet"
        with publish(part) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return part

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def read(self, recipe: Recipe, columns: Sequence[str], ids: npt.NDArray[np.bytes_]) -> Stored:
        """Return what is stored for `ids` (repeats allowed), in their order."""
        wanted = pa.array(ids).cast(pa.string())
        n = len(ids)
        present = np.ones(n, dtype=bool)
        truncated = np.zeros(n, dtype=bool)
        reasons: dict[int, str] = {}
        values: dict[str, npt.NDArray[Any]] = {}
        tables = self._tables(recipe.key)
        for name in columns:
            parts = [
                t.select(["id", name, "reason", "truncated"])
                for t in tables
                if name in t.column_names
            ]
            if not parts:
                present[:] = False
                values[name] = np.full(n, np.nan)
                continue
            table = pa.concat_tables(parts).combine_chunks()
            where = pc.index_in(wanted, value_set=table.column("id"))
            known = np.asarray(where.is_valid())
            present &= known
            found = table.take(where)
            values[name] = _from_arrow(found.column(name))
            truncated |= np.asarray(found.column("truncated").fill_null(False))
            reason = found.column("reason")
            for position in np.flatnonzero(np.asarray(reason.is_valid())):
                reasons.setdefault(int(position), reason[int(position)].as_py())
        return Stored(values, present, reasons, truncated)

    def missing(
        self, recipe: Recipe, columns: Sequence[str], ids: npt.NDArray[np.bytes_]
    ) -> npt.NDArray[np.bool_]:
        """Return (n,) bool: True where some asked column has not been computed yet."""
        wanted = pa.array(ids).cast(pa.string())
        absent = np.zeros(len(ids), dtype=bool)
        tables = self._tables(recipe.key, only=["id"])
        for name in columns:
            parts = [table for table in tables if name in _stored_columns(table)]
            if not parts:
                return np.ones(len(ids), dtype=bool)
            known = pa.concat_tables([t.select(["id"]).replace_schema_metadata() for t in parts])
            absent |= ~np.asarray(pc.is_in(wanted, value_set=known.column("id").combine_chunks()))
        return absent

    def _tables(self, key: str, only: Sequence[str] | None = None) -> list[pa.Table]:
        """Read a recipe's parts in name order; starts over when a compaction swaps them."""
        for _attempt in range(5):
            try:
                return [_read_part(part, only) for part in self._parts(key)]
            except FileNotFoundError:
                continue
        raise StoreError(f"the parts of {key} keep changing; wait for `store compact` to end")

    def _parts(self, key: str) -> list[Path]:
        return sorted((self.root / key / "parts").glob("*.parquet"))

    # ── looking after it ────────────────────────────────────────────────────────────────────

    def recipes(self) -> Iterator[StoredRecipe]:
        """Yield every recipe in the store."""
        for folder in sorted(self.root.iterdir()):
            try:
                stated = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
                recipe = Recipe.of(stated["indicator"], stated["fields"])
            except (OSError, ValueError, KeyError):
                continue  # a folder of someone else's, or one being made right now
            rows, size, seconds, used = 0, 0, 0.0, 0.0
            parts = self._parts(folder.name)
            for part in parts:
                with contextlib.suppress(FileNotFoundError):
                    metadata = pq.read_metadata(part)
                    rows += metadata.num_rows
                    seconds += float((metadata.metadata or {}).get(b"seconds", b"0"))
                    stat = part.stat()
                    size += stat.st_size
                    used = max(used, stat.st_mtime)
            yield StoredRecipe(recipe, folder, len(parts), rows, size, used, seconds)

    def ids_beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return id → {recipe key: stored row} for ids that begin with `prefix`."""
        found: dict[str, dict[str, Any]] = {}
        for stored in self.recipes():
            for table in self._tables(stored.key):
                hits = table.filter(pc.starts_with(table.column("id"), prefix))
                for row in hits.to_pylist():
                    found.setdefault(row.pop("id"), {}).setdefault(stored.key, {}).update(row)
        return found

    def prune(self, keys: Sequence[str]) -> int:
        """Delete whole recipes; returns the bytes freed."""
        freed = 0
        for key in keys:
            folder = self.root / key
            freed += sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
            doomed = self.root / f".pruned-{uuid.uuid4().hex}"
            try:
                folder.rename(doomed)  # at once, so that no reader meets half a recipe
                shutil.rmtree(doomed)
            except OSError as error:
                raise StoreError(f"cannot delete {folder} ({error.strerror})") from error
        return freed

    def compact(self, key: str) -> tuple[int, int]:
        """Merge the parts of a recipe that have the same columns; returns parts before, after."""
        with self._lock(key):
            parts = self._parts(key)
            self._sweep(key)
            groups: dict[tuple[str, ...], list[tuple[Path, pa.Table]]] = {}
            for part in parts:
                table = _read_part(part, None)
                groups.setdefault(tuple(table.column_names), []).append((part, table))
            recipe = next(r.recipe for r in self.recipes() if r.key == key)
            for group in groups.values():
                if len(group) < 2:
                    continue
                seconds = sum(_seconds(table) for _, table in group)
                merged = pa.concat_tables([t.replace_schema_metadata() for _, t in group])
                merged = _first_per_id(merged).replace_schema_metadata(
                    {"seconds": f"{seconds:.6f}"}
                )
                self._write_part(recipe, merged, group[0][0].stem + "m")  # keeps its place
                for part, _ in group:
                    part.unlink(missing_ok=True)
            return len(parts), len(self._parts(key))

    def _sweep(self, key: str) -> None:
        """Remove temporaries that a killed process left behind."""
        for path in (self.root / key).rglob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_TEMPORARY_SECONDS:
                    path.unlink()

    @contextlib.contextmanager
    def _lock(self, key: str) -> Iterator[None]:
        """Hold the recipe's compaction lock; the system drops it if the process dies."""
        from filelock import FileLock, Timeout

        try:
            with FileLock(self.root / key / "compact.lock", blocking=False):
                yield
        except Timeout as error:
            raise StoreError(f"another process is compacting {key}; wait for it") from error


def _read_part(part: Path, only: Sequence[str] | None) -> pa.Table:
    try:
        with pq.ParquetFile(part) as file:
            table = file.read(columns=list(only) if only else None)
            names = ",".join(file.schema_arrow.names)
            metadata = {**(file.schema_arrow.metadata or {}), b"columns": names.encode()}
            return table.replace_schema_metadata(metadata)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowInvalid) as error:
        raise StoreError(
            f"stored part {part} is damaged ({error}); delete it and run again"
        ) from error


def _stored_columns(table: pa.Table) -> list[str]:
    names: bytes = (table.schema.metadata or {})[b"columns"]
    return names.decode().split(",")


def _seconds(table: pa.Table) -> float:
    return float((table.schema.metadata or {}).get(b"seconds", b"0"))


def _first_per_id(table: pa.Table) -> pa.Table:
    ids = np.asarray(table.column("id").to_numpy(zero_copy_only=False), dtype="S32")
    _, first = np.unique(ids, return_index=True)
    return table.take(pa.array(np.sort(first)))


def _to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.astype(np.float64), mask=np.isnan(values))
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _from_arrow(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    array = column.combine_chunks()
    if not pa.types.is_fixed_size_list(array.type):
        return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
    width = array.type.list_size
    result = np.full((len(array), width), np.nan, dtype=np.float32)
    valid = np.asarray(array.is_valid())
    flat = array.drop_null().flatten().to_numpy(zero_copy_only=False)
    result[valid] = flat.reshape(-1, width)
    return result
