"""Results that came one by one and were paid for, kept so that no crash loses one.

    WORKDIR/<kind>/<recipe key>/recipe.json
    WORKDIR/<kind>/<recipe key>/<time>-<random>.jsonl     {"key": 32 hex digits, …}

Every process appends to a file of its own, one whole line per result, handed to the system at
once: killing the process loses nothing that was written. A line without its end, which only a
power cut leaves, is passed over. Nothing is ever changed, so any number of processes may read and
add; the earlier result of a key counts.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from instructmine.errors import StoreError
from instructmine.files import publish_text, write_error
from instructmine.recipes import Recipe

Item = TypeVar("Item")
Record = Mapping[str, Any]
Work = Callable[[Sequence[Item]], Iterable[tuple[int, Record]]]

_HEAD = b'{"key":"'
_DIGITS = 32
CHUNK = 512  # items looked up and handed on together; what a stopped run may have in hand


class Journal:
    """Results of one recipe, by key. Texts stay on disk; memory holds their places."""

    def __init__(self, workdir: str | Path, kind: str, recipe: Recipe) -> None:
        """Open the journal of a recipe, creating its folder. Raises StoreError if it cannot be."""
        self.folder = Path(workdir).expanduser() / kind / recipe.key
        self._places: dict[bytes, tuple[Path, int, int]] = {}
        self._file: BinaryIO | None = None
        self._path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot use work folder {workdir} ({error.strerror}); give --workdir another one"
            ) from error
        if not (self.folder / "recipe.json").exists():
            stated = {"name": recipe.indicator, "fields": recipe.fields}
            with publish_text(self.folder / "recipe.json") as handle:
                json.dump(stated, handle, indent=2, ensure_ascii=False)
        for path in sorted(self.folder.glob("*.jsonl")):
            self._index(path)

    def _index(self, path: Path) -> None:
        place = 0
        with path.open("rb") as handle:
            for line in handle:
                key = line[len(_HEAD) : len(_HEAD) + _DIGITS]
                if line.startswith(_HEAD) and line.endswith(b"}\n"):
                    self._places.setdefault(key, (path, place, len(line)))
                place += len(line)

    def __len__(self) -> int:
        """Number of results."""
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        """Tell whether there is a result for a key."""
        return key.encode() in self._places

    def get(self, key: str) -> Record | None:
        """Return a result, or None. Raises StoreError where its line is damaged."""
        place = self._places.get(key.encode())
        if place is None:
            return None
        path, start, size = place
        try:
            with path.open("rb") as handle:
                handle.seek(start)
                found: Record = json.loads(handle.read(size))
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged ({error}); delete it and run again") from error
        return found

    def append(self, key: str, record: Record) -> None:
        """Add a result; it is the system's when this returns. Raises InstructmineError in a line.

        Only the first result of a key counts.
        """
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        body = text[1:].encode("utf-8", "surrogatepass")
        line = _HEAD + key.encode() + (b'",' if len(body) > 1 else b'"') + body + b"\n"
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            start = self._file.tell()
            if self._file.write(line) != len(line):
                raise OSError(28, os.strerror(28))  # a part was written: the disk is full
        except OSError as error:
            raise write_error(self._path, error) from error
        self._places.setdefault(key.encode(), (self._path, start, len(line)))

    def close(self) -> None:
        """Flush to disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
            self._path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl"

    def resume(
        self,
        items: Iterable[tuple[str, Item]],
        work: Work[Item],
        *,
        chunk: int = CHUNK,
    ) -> Iterator[tuple[int, Record | None]]:
        """Yield (position, record) for (key, item) pairs: known ones are looked up, others made.

        work: gets items whose results are missing, each key once, and yields (index, record) in
        any order; what it does not yield is missing still, and comes back as None. Positions come
        chunk by chunk, in no order within one.
        """
        pending: list[tuple[int, str, Item]] = []
        for position, (key, item) in enumerate(items):
            pending.append((position, key, item))
            if len(pending) >= chunk:
                yield from self._chunk(pending, work)
                pending = []
        yield from self._chunk(pending, work)
        self.close()

    def _chunk(
        self,
        pending: Sequence[tuple[int, str, Item]],
        work: Work[Item],
    ) -> Iterator[tuple[int, Record | None]]:
        missing: dict[str, Item] = {}
        waiting: dict[str, list[int]] = {}
        for position, key, item in pending:
            found = self.get(key)
            if found is None:
                missing.setdefault(key, item)
                waiting.setdefault(key, []).append(position)
                continue
            yield position, found
        keys = list(missing)
        for index, record in work(list(missing.values())) if missing else ():
            self.append(keys[index], record)
            for position in waiting.pop(keys[index]):
                yield position, record
        for positions in waiting.values():
            for position in positions:
                yield position, None
