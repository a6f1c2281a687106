"""A pool: files of instruction examples, read as a stream as often as needed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructmine.errors import PoolError, UsageError
from instructmine.formats._files import ShapedFile
from instructmine.formats._mapping import mapped_shape
from instructmine.formats._shapes import Shape
from instructmine.formats._sources import Source, labelled
from instructmine.pool import PoolRow


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

    def rows_at(self, wanted: Mapping[str, Collection[int]]) -> Iterator[PoolRow]:
        """Yield the rows at the given places (source → set of row numbers), in reading order.

        A second pass over only the files that are wanted, each only as far as needed.

        Raises PoolError if a file has changed since the pool was opened or a row is not there,
        KeyError for a source that is not of this pool.
        """
        unknown = wanted.keys() - self._files.keys()
        if unknown:
            raise KeyError(f"no source of this pool: {sorted(unknown)}")
        for source, file in self._files.items():
            rows = wanted.get(source)
            if not rows:
                continue
            file.check_unchanged()
            left = len(rows)
            for row in file.rows(rows):
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

    def refuse_replacing(self, *outputs: Path) -> None:
        """Raise UsageError where one of the outputs is a file of this pool."""
        own = {
            file.place.resolve(): label
            for label, file in self._files.items()
            if isinstance(file.place, Path)
        }
        for path in outputs:
            if path.resolve() in own:
                raise UsageError(
                    f"{path} is a file of the pool ({own[path.resolve()]}) and would be replaced; "
                    "choose another name for the output"
                )

    def shape_of(self, row: PoolRow) -> Shape | None:
        """Return the shape by which a row of this pool is read, None for a row that fits none."""
        return self._files[row.source].shape_of(row.record) if row.record is not None else None

    def schema(self, sources: Iterable[str]) -> Any:
        """Return the common Arrow schema of some sources, None unless all of them have one."""
        import pyarrow as pa

        schemas = [self._files[source].schema() for source in sources]
        if not schemas or any(schema is None for schema in schemas):
            return None
        try:
            return pa.unify_schemas(schemas)
        except pa.ArrowException:
            return None  # the writer finds a type that holds both, or says which column has none


def open_pool(
    sources: Sequence[Source] | Source,
    *,
    mapping: Mapping[str, str] | None = None,
    mappable: bool = True,
) -> Pool:
    """Open files, folders and Hub datasets as one pool; only the first rows are read for now.

    Args:
        sources: paths, or Hub datasets as `owner/name[/config][:split]`. A path that exists
            comes first; `hf://owner/name` means the Hub in any case.
        mapping: meaning → column for files of unknown shape: prompt and response, or messages,
            and system, input, history.
        mappable: whether a mapping could have been given: an error then says how.

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
    for label, place, in_folder in labelled(given, ignored):
        file = ShapedFile(label, place, mapped, mappable=mappable)
        if not file.empty:
            files.append(file)
        elif in_folder:
            ignored.append(f"{label}: it holds no rows")
        else:
            raise PoolError(f"{label} holds no rows")
    if not files:
        raise PoolError(f"{_names(given)} holds no rows")
    return Pool(files, ignored, mapping)


def _names(sources: Sequence[Source]) -> str:
    return " and ".join(str(source) for source in sources[:3])
