"""A pool: files of instruction examples, read as a stream as often as needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from instructmine.errors import PoolError
from instructmine.formats import _containers
from instructmine.formats._containers import hub
from instructmine.formats._files import ShapedFile, reason
from instructmine.formats._mapping import mapped_shape
from instructmine.pool import PoolRow

Source = str | os.PathLike[str]
Place = Path | hub.HubDataset

# What selection, trainers and `datasets` put beside data files; none of it is a pool.
_SIDECARS = (".decisions.parquet", ".manifest.json", ".rejected.jsonl")
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


class Pool:
    """Files of instruction examples. Iterating reads them anew, row by row, in order.

    A pool holds no rows: memory stays bounded by a row or a batch, however large its files.

    Attributes:
        sources: the label of every file, in reading order, unique: the path as it was given, or
            relative to the folder that was given; `owner/name` for a Hub dataset.
        ignored: files in given folders that are not read, each with why.
        mapping: the user's mapping, if any.
    """

    def __init__(
        self, files: Sequence[ShapedFile], ignored: Sequence[str], mapping: Mapping[str, str] | None
    ) -> None:
        self._files = {file.label: file for file in files}
        self.sources: list[str] = list(self._files)
        self.ignored: list[str] = list(ignored)
        self.mapping: dict[str, str] | None = dict(mapping) if mapping else None

    def __iter__(self) -> Iterator[PoolRow]:
        """Yield every row of every file, also those that could not be read (`rejection`)."""
        for file in self._files.values():
            yield from file.rows()

    def rows_at(self, wanted: Mapping[str, Iterable[int]]) -> Iterator[PoolRow]:
        """Yield the rows at the given places (source → row numbers), in reading order.

        A second pass over only the files that are wanted, each only as far as needed.

        Raises PoolError if a file has changed since the pool was opened or a row is not there,
        KeyError for a source that is not of this pool.
        """
        chosen = {source: frozenset(rows) for source, rows in wanted.items()}
        unknown = chosen.keys() - self._files.keys()
        if unknown:
            raise KeyError(f"no source of this pool: {sorted(unknown)}")
        for source, file in self._files.items():
            rows = chosen.get(source)
            if not rows:
                continue
            file.check_unchanged()
            left = len(rows)
            for row in file.rows(rows):
                if row.row in rows:
                    left -= 1
                    yield row
                    if not left:
                        break
            if left:
                raise PoolError(f"{source} has changed: {left} rows are gone; run again")

    def fetch(self, places: Sequence[tuple[str, int]]) -> list[PoolRow]:
        """Return the rows at (source, row) places in the order asked for; only they are held."""
        wanted: dict[str, set[int]] = {}
        for source, row in places:
            wanted.setdefault(source, set()).add(row)
        found = {(row.source, row.row): row for row in self.rows_at(wanted)}
        return [found[place] for place in places]


def open_pool(
    sources: Sequence[Source] | Source, *, mapping: Mapping[str, str] | None = None
) -> Pool:
    """Open files, folders and Hub datasets as one pool; only the first rows are read for now.

    Args:
        sources: paths, or Hub datasets as `owner/name[/config][:split]`. A path that exists
            comes first; `hf://owner/name` means the Hub in any case.
        mapping: meaning → column for files of unknown shape: prompt and response, or messages,
            and system, input, history.

    Raises:
        PoolError: nothing can be read at a source, or its rows fit no known shape.
        UsageError: the mapping is incomplete.
    """
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not given:
        raise PoolError("no pool was given; name at least one file, folder or Hub dataset")
    mapped = mapped_shape(mapping) if mapping else None
    files: list[ShapedFile] = []
    ignored: list[str] = []
    for label, place, in_folder in _labelled(given, ignored):
        file = ShapedFile(label, place, mapped)
        if not file.empty:
            files.append(file)
        elif in_folder:
            ignored.append(f"{label}: it holds no rows")
        else:
            raise PoolError(f"{label} holds no rows")
    if not files:
        raise PoolError(f"{_names(given)} holds no rows")
    return Pool(files, ignored, mapping)


def _labelled(sources: Sequence[Source], ignored: list[str]) -> Iterator[tuple[str, Place, bool]]:
    """Yield (label, place, whether it was found in a folder) for every file, labels unique."""
    found: list[tuple[str, str, Place, bool]] = []
    for source in sources:
        place = _place(source)
        if isinstance(place, Path) and place.is_dir():
            for path in _walk(place, ignored):
                found.append((path.relative_to(place).as_posix(), str(path), path, True))
        else:
            found.append((str(source), str(source), place, False))
    seen: dict[Place, str] = {}
    short = [label for label, _, _, _ in found]
    for label, full, place, in_folder in found:
        real: Place = place.resolve() if isinstance(place, Path) else place
        if real in seen:
            raise PoolError(f"{full} is given twice (also as {seen[real]}); name it once")
        seen[real] = full
        yield (full if short.count(label) > 1 else label), place, in_folder


def _place(source: Source) -> Place:
    """Return what a source means. Raises PoolError when it means nothing."""
    name = os.fspath(source)
    path = Path(name)
    try:
        if path.exists() and not name.startswith("hf://"):
            if not (path.is_file() or path.is_dir()):
                raise PoolError(
                    f"{path} is no regular file, and a pool is read more than once; "
                    "write it to a file first"
                )
            return path
    except OSError as error:
        raise PoolError(f"cannot read {path}: {reason(error)}") from error
    dataset = hub.parse(name) if isinstance(source, str) else None
    if dataset is None or (_containers.known(path) and not name.startswith("hf://")):
        raise PoolError(f"there is no file or folder {path}")
    return dataset


def _walk(folder: Path, ignored: list[str]) -> list[Path]:
    """Return the pool files of a folder and its subfolders, sorted by path."""
    paths: list[Path] = []
    try:
        for parent, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            paths += [Path(parent, name) for name in names if not name.startswith(".")]
    except OSError as error:
        raise PoolError(f"cannot read {error.filename or folder}: {reason(error)}") from error
    kept: list[Path] = []
    for path in sorted(paths):
        label = path.relative_to(folder).as_posix()
        if not _containers.known(path):
            ignored.append(f"{label}: its ending is not that of a pool file")
        elif path.name.endswith(_SIDECARS) or path.name in _METADATA:
            ignored.append(f"{label}: it describes data and is none")
        else:
            kept.append(path)
    if not kept:
        raise PoolError(
            f"the folder {folder} holds no pool files; known endings: "
            f"{', '.join(_containers.READERS)}, each also with .gz or .zst"
        )
    return kept


def _raise(error: OSError) -> None:
    raise error


def _names(sources: Sequence[Source]) -> str:
    return " and ".join(str(source) for source in sources[:3])
