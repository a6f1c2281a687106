"""The store of scores: append-only Parquet parts per recipe, keyed by example id.

    WORKDIR/scores/<recipe key>/recipe.json
    WORKDIR/scores/<recipe key>/parts/<time>-<random>.parquet     id, <columns…>, reason, truncated

A part is written beside its place and renamed into it, so what exists is complete; nothing is
ever changed in place, so any number of processes may read and add. Two processes that compute
the same example add it twice, and the earlier part counts. Resuming is asking
again which ids are missing. WORKDIR may be a URL: then all machines share what is there, and each
keeps a copy of what it reads.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from instructmine.errors import StoreError
from instructmine.files import publish
from instructmine.ids import Lookup
from instructmine.mirror import Mirror, is_url
from instructmine.parts import Gathering, Part, Places, facts_of, merge, stated
from instructmine.recipes import Recipe
from instructmine.workdirs import local_folder

STALE_TEMPORARY_SECONDS = 24 * 3600  # a temporary this old belongs to a dead process
FEW = 8  # fewer ids than a recipe's rows by this factor are looked up by their places
_ATTEMPTS = 5


@dataclass(frozen=True)
class Stored:
    """What the store knows about n ids, aligned with them.

    values: column → (n,) float64 or (n, d) float32, NaN where null or absent.
    present: (n,) bool, True where every asked column has been computed (even if null).
    reasons: position → why a value is null. truncated: (n,) bool. facts: what computing told
    about the values as a whole, the recall of a search for example.
    """

    values: Mapping[str, npt.NDArray[Any]]
    present: npt.NDArray[np.bool_]
    reasons: Mapping[int, str]
    truncated: npt.NDArray[np.bool_]
    facts: Mapping[str, Any] = field(default_factory=dict)


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
        """Use `workdir`, creating it; of a URL, a copy in the cache folder.

        Raises StoreError when it cannot be written.
        """
        self.mirror = Mirror(str(workdir)) if is_url(workdir) else None
        self.root = local_folder(workdir) / "scores"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot use work folder {workdir} ({error.strerror}); give --workdir another one"
            ) from error
        self._known: dict[str, dict[Path, Part]] = {}
        self._places: dict[str, Places] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Travel as the place alone; what was noted of it is noted again."""
        return {"root": self.root, "mirror": self.mirror, "_known": {}, "_places": {}}

    # ── writing ─────────────────────────────────────────────────────────────────────────────

    def publish(
        self,
        recipe: Recipe,
        ids: npt.NDArray[np.bytes_],
        values: Mapping[str, npt.NDArray[Any]],
        reasons: Mapping[int, str],
        truncated: frozenset[int] = frozenset(),
        seconds: float = 0.0,
        facts: Mapping[str, Any] | None = None,
    ) -> Path:
        """Add one part, whole or not at all; `seconds` is what computing it took.

        facts: JSON-like, what is known of the values as a whole.
        """
        reason = [reasons.get(position) for position in range(len(ids))]
        cut = np.zeros(len(ids), dtype=bool)
        cut[list(truncated)] = True
        columns: dict[str, pa.Array] = {"id": pa.array(ids).cast(pa.string())}
        for name, column in values.items():
            columns[name] = _to_arrow(column)
        columns["reason"] = pa.array(reason, pa.string())
        columns["truncated"] = pa.array(cut)
        table = pa.table(columns).replace_schema_metadata(stated(seconds, facts or {}))
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
            with self._publish(folder / "recipe.json") as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        part = folder / "parts" / f"{name}.parquet"
        with self._publish(part) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return part

    @contextlib.contextmanager
    def _publish(self, path: Path) -> Iterator[Path]:
        """Publish a file; where the store is a URL, there first."""
        with publish(path) as temporary:
            yield temporary
            if self.mirror is not None:
                self.mirror.put(temporary, self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root.parent).as_posix()

    # ── reading ─────────────────────────────────────────────────────────────────────────────

    def read(self, recipe: Recipe, columns: Sequence[str], ids: npt.NDArray[np.bytes_]) -> Stored:
        """Return what is stored for `ids` (repeats allowed), in their order.

        Parts are read one after the other in batches, so memory is that of the answer. Once a few
        ids are asked for, the places of all are noted, and only those parts are read from then on.
        """
        for _attempt in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # a compaction has swapped parts
                return self._read(recipe.key, columns, ids)
        raise _restless(recipe.key)

    def _read(self, key: str, columns: Sequence[str], ids: npt.NDArray[np.bytes_]) -> Stored:
        parts = self._opened(key)
        found = Gathering(ids, columns, parts)
        places = self._places_of(key, parts, ids)
        for part in parts:
            groups = None if places is None else places.get(part.path, ())
            if groups is None or groups:
                found.add(part, groups)
        present = np.ones(len(ids), dtype=bool)
        for known in found.known.values():
            present &= known
        return Stored(found.values, present, found.reasons(), found.truncated, facts_of(parts))

    def of_other_pools(self, recipe: Recipe) -> Iterator[Recipe]:
        """Yield the stored recipes that differ from a pool-scope one in their pool alone."""
        fields = recipe.fields
        for folder in self._folders():
            if folder.name == recipe.key or not folder.name.startswith(f"{recipe.indicator}-"):
                continue
            other = _stated(folder)
            if other is not None and {**other.fields, "pool": fields["pool"]} == fields:
                yield other

    def ids(self, recipe: Recipe) -> npt.NDArray[np.bytes_]:
        """Return the ids stored for a recipe, (n,) S32, in the order they were stored."""
        found = [ids for part in self._opened(recipe.key) for ids in part.ids()]
        return np.concatenate(found) if found else np.empty(0, dtype="S32")

    def columns(self, recipe: Recipe) -> tuple[str, ...]:
        """Return the columns that any part of a recipe has, in order of name."""
        found = {name for part in self._opened(recipe.key) for name in part.columns}
        return tuple(sorted(found - {"id", "reason", "truncated"}))

    def _places_of(
        self, key: str, parts: Sequence[Part], ids: npt.NDArray[np.bytes_]
    ) -> Mapping[Path, set[int]] | None:
        """Return where the ids may be, or None where reading all parts is no more work."""
        if len(parts) < 2 or FEW * len(ids) > sum(sum(part.groups) for part in parts):
            return None
        places = self._places.setdefault(key, Places())
        places.update(parts)
        return places.of(ids)

    def missing(
        self, recipe: Recipe, columns: Sequence[str], ids: npt.NDArray[np.bytes_]
    ) -> npt.NDArray[np.bool_]:
        """Return (n,) bool: True where some asked column has not been computed yet."""
        for _attempt in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):
                return self._missing(recipe.key, columns, ids)
        raise _restless(recipe.key)

    def _missing(
        self, key: str, columns: Sequence[str], ids: npt.NDArray[np.bytes_]
    ) -> npt.NDArray[np.bool_]:
        parts = [part for part in self._opened(key) if part.columns & set(columns)]
        if not parts or not columns:
            return np.full(len(ids), bool(columns))
        lookup = Lookup(ids)
        known = {name: np.zeros(len(ids), dtype=bool) for name in columns}
        for part in parts:
            for stored in part.ids():
                _, rows = lookup.find(stored)
                for name in columns:
                    if name in part.columns:
                        known[name][rows] = True
        absent: npt.NDArray[np.bool_] = ~np.all(list(known.values()), axis=0)
        return absent

    def _opened(self, key: str) -> list[Part]:
        """Return a recipe's parts in name order; a part never changes, so each is opened once."""
        paths = self._parts(key)
        known = self._known.get(key, {})
        self._known[key] = {path: known.get(path) or Part.open(path) for path in paths}
        return list(self._known[key].values())

    def _parts(self, key: str) -> list[Path]:
        folder = self.root / key / "parts"
        if self.mirror is not None:
            self.mirror.fetch(folder, self._name(folder), "*.parquet")
        return sorted(folder.glob("*.parquet"))

    # ── looking after it ────────────────────────────────────────────────────────────────────

    def recipes(self) -> Iterator[StoredRecipe]:
        """Yield every recipe in the store."""
        for folder in self._folders():
            recipe = _stated(folder)
            if recipe is None:
                continue
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

    def _folders(self) -> list[Path]:
        if self.mirror is None:
            return sorted(self.root.iterdir())
        folders = [self.root / name for name in self.mirror.folders(self.root.name)]
        for folder in folders:
            self.mirror.fetch(folder, self._name(folder), "recipe.json")
        return folders

    def ids_beginning(self, prefix: str) -> dict[str, dict[str, Any]]:
        """Return id → {recipe key: stored row} for ids that begin with `prefix`."""
        found: dict[str, dict[str, Any]] = {}
        for stored in self.recipes():
            for path in self._parts(stored.key):
                for batch in Part.open(path).batches():
                    hits = batch.filter(pc.starts_with(batch.column("id"), prefix))
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
                if self.mirror is not None:
                    self.mirror.remove(self._name(folder))
                folder.rename(doomed)  # at once, so that no reader meets half a recipe
                shutil.rmtree(doomed)
            except OSError as error:
                raise StoreError(f"cannot delete {folder} ({error.strerror})") from error
        return freed

    def compact(self, key: str) -> tuple[int, int]:
        """Merge the parts of a recipe that have the same columns; returns parts before, after."""
        with self._lock(key):
            parts = [Part.open(path) for path in self._parts(key)]
            self._sweep(key)
            groups: dict[frozenset[str], list[Part]] = {}
            for part in parts:
                groups.setdefault(part.columns, []).append(part)
            for group in groups.values():
                if len(group) < 2:
                    continue
                merged = group[0].path.with_name(
                    f"{group[0].path.stem}m.parquet"
                )  # keeps its place
                with self._publish(merged) as temporary:
                    merge(group, temporary)
                for part in group:
                    if self.mirror is not None:
                        self.mirror.remove(self._name(part.path))
                    part.path.unlink(missing_ok=True)
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


def _stated(folder: Path) -> Recipe | None:
    """Read a folder's recipe; None for a folder of someone else's, or one being made right now."""
    try:
        stated = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        return Recipe.of(stated["indicator"], stated["fields"])
    except (OSError, ValueError, KeyError):
        return None


def _restless(key: str) -> StoreError:
    return StoreError(f"the parts of {key} keep changing; wait for `store compact` to end")


def _to_arrow(values: npt.NDArray[Any]) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values.astype(np.float64), mask=np.isnan(values))
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
