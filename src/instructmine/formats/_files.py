"""One file of a pool: how it is read, which shape its rows have, and its rows."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from instructmine.errors import PoolError
from instructmine.formats import _containers
from instructmine.formats._containers import hub, parquet
from instructmine.formats._mapping import present
from instructmine.formats._rows import BrokenFile, Item, Unfit, clip, kind, show
from instructmine.formats._shapes import Shape, example_messages, recognise
from instructmine.pool import Example, PoolRow

HEAD_ROWS = 100  # rows that decide what shape a file has
_NAMED_COLUMNS = 12
_RENAME = "rename those that hold the texts to prompt and response"

Items = Callable[[Container[int] | None], Iterator[Item]]


class PoolFile:
    """A file, or a split of a Hub dataset, that yields items; `label` names it everywhere."""

    def __init__(self, label: str, place: _containers.File | hub.HubDataset) -> None:
        self.label = label
        self.place = place
        self._stamp = self._state()
        self._items = self._reader()

    def _reader(self) -> Items:
        place = self.place
        if isinstance(place, hub.HubDataset):
            return lambda keep: hub.read(place, keep)
        try:
            read = _containers.reader(place)
        except _containers.UNREADABLE as error:
            raise PoolError(f"cannot read {place}: {reason(error)}") from error
        return lambda keep: read(place, keep)

    def _state(self) -> tuple[int, int] | str | None:
        """Return what changes when the file does; None for what has no such state."""
        if isinstance(self.place, hub.HubDataset):
            return None
        try:
            if not isinstance(self.place, Path):
                return self.place.state()
            status = self.place.stat()
        except OSError as error:
            raise PoolError(f"cannot read {self.place}: {reason(error)}") from error
        return status.st_size, status.st_mtime_ns

    def check_unchanged(self) -> None:
        """Raise PoolError if the file is not the one that was opened: row numbers would lie."""
        if self._state() != self._stamp:
            raise PoolError(f"{self.place} has changed since it was opened; run again")

    def items(self, keep: Container[int] | None = None) -> Iterator[Item]:
        """Yield the items of the file.

        Where the file breaks off, what came before is kept and one last item has the reason;
        raises PoolError if not even one row came.
        """
        last: Item | None = None
        try:
            for item in self._items(keep):
                last = item
                yield item
            return
        except (BrokenFile, *_containers.UNREADABLE) as error:
            why = reason(error)
            broken = error
        if last is None and keep is None:
            raise PoolError(f"cannot read {self.place}: {why}") from broken
        row = 0 if last is None else last.row + 1
        yield Item(row, None, 0, f"the rest of the file is unreadable: {why}")

    def schema(self) -> Any:
        """Return the Arrow schema of a Parquet file, None for other files."""
        place = self.place
        if isinstance(place, hub.HubDataset) or _containers.ending(place) != ".parquet":
            return None
        return parquet.schema(place)


class ShapedFile(PoolFile):
    """A pool file whose rows are read as examples, by one shape or by the user's mapping."""

    def __init__(
        self,
        label: str,
        place: _containers.File | hub.HubDataset,
        mapped: Shape | None = None,
        *,
        mappable: bool = True,
    ) -> None:
        super().__init__(label, place)
        self._mappable = mappable
        self.empty = False
        self._mapped = mapped
        self._shape = mapped
        self._detect()

    def _detect(self) -> None:
        """Find the commonest shape of the first rows. Raises PoolError if none fits."""
        head = list(itertools.islice(self.items(), HEAD_ROWS))
        self.empty = not head
        records = [item.value for item in head if isinstance(item.value, dict)]
        if not records:
            return  # every row will be rejected with a reason of its own
        columns = list(dict.fromkeys(key for record in records for key in record))
        if self._mapped is not None:
            if not any(present(record, self._mapped) for record in records):
                wanted = " and ".join(repr(path) for path in self._mapped.required)
                raise PoolError(f"{self.label} has no {wanted}; its columns: {named(columns)}")
            return
        found = Counter(shape.name for record in records if (shape := recognise(record)))
        if not found:
            advice = f"name them: {suggestion(records)}" if self._mappable else _RENAME
            raise PoolError(
                f"{self.label} fits no known row shape; its columns: {named(columns)}; {advice}"
            )
        name = found.most_common(1)[0][0]
        self._shape = next(s for record in records if (s := recognise(record)) and s.name == name)

    def shape_of(self, record: Mapping[str, Any]) -> Shape | None:
        """Return the shape that reads a record: the file's where it fits, else another known."""
        return self._mapped or recognise(record, self._shape)

    def rows(self, keep: Container[int] | None = None) -> Iterator[PoolRow]:
        """Yield the rows of the file, read as examples or rejected."""
        for item in self.items(keep):
            if keep is not None and item.row not in keep:
                continue  # not every container can leave rows out by itself
            if item.problem:
                yield rejected(self.label, item, item.problem)
            elif type(item.value) is not dict:
                yield rejected(self.label, item, f"the row is {kind(item.value)}, not an object")
            else:
                yield self._row(item)

    def _row(self, item: Item) -> PoolRow:
        record = item.value
        shape = self.shape_of(record)
        if shape is None:
            return rejected(self.label, item, self._misfit(record))
        try:
            messages = example_messages(shape.read(record))
        except Unfit as unfit:
            return rejected(self.label, item, str(unfit))
        return PoolRow(self.label, item.row, record, Example(messages, self.label, item.row))

    def _misfit(self, record: Mapping[str, Any]) -> str:
        if self._shape is None:
            return f"fits no known row shape; its columns: {named(list(record))}"
        missing = [column for column in self._shape.required if column not in record]
        return (
            f"{' and '.join(missing)} missing (the file is {self._shape.name}); "
            f"its columns: {named(list(record))}"
        )


def rejected(label: str, item: Item, why: str) -> PoolRow:
    """Return the row of an item that gives no example; its record is not held, only its text."""
    place = f"line {item.line}: " if item.line else ""
    raw = item.raw if item.problem else show(item.value)
    return PoolRow(label, item.row, None, None, place + clip(why), raw)


def reason(error: Exception) -> str:
    """Return why a file cannot be read, in words that mean something to its owner."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, EOFError):
        return "the compressed data is cut short"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return clip(str(error)) or type(error).__name__


def named(columns: list[str]) -> str:
    """Return column names for a message, not too many of them."""
    shown = ", ".join(clip(str(column)) for column in columns[:_NAMED_COLUMNS])
    more = len(columns) - _NAMED_COLUMNS
    return (shown or "none") + (f" and {more} more" if more > 0 else "")


def suggestion(records: list[dict[str, Any]]) -> str:
    """Return a `--map` to try, with the user's own columns of text where two can be guessed."""
    columns = list(dict.fromkeys(k for r in records for k, v in r.items() if isinstance(v, str)))
    columns = [column for column in columns if not column.lower().endswith("id")]
    prompt = _like(columns, ("prompt", "question", "instruct", "query", "input", "user", "ask"))
    response = _like(columns, ("response", "answer", "output", "completion", "reply", "target"))
    if prompt is None or response is None or prompt == response:
        prompt, response = "COLUMN", "COLUMN"
    return f"--map prompt={prompt},response={response}"


def _like(columns: list[str], words: tuple[str, ...]) -> str | None:
    return next((column for word in words for column in columns if word in column.lower()), None)
