"""Containers: how rows lie in a file. One file per container, each with one `read` function.

`read(path, keep=None)` yields an `Item` per row, in file order, with memory bounded by a row or
a batch. It turns a bad row into an item with a problem and raises `BrokenFile` or one
of `UNREADABLE` where the file cannot be read on. To add a container, write such a file and give its
file name endings in `READERS`.
"""

from __future__ import annotations

import codecs
import importlib
import json
from collections.abc import Container, Iterator
from typing import Protocol

from instructmine.errors import PoolError
from instructmine.formats._containers._bytes import UNREADABLE, Chunks, File
from instructmine.formats._rows import Item

__all__ = ["READERS", "UNREADABLE", "File", "Read", "ending", "known", "reader"]

READERS = {
    ".json": "json_array",  # or jsonl: the content decides, for all three
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "delimited",
    ".tsv": "delimited",
}
COMPRESSED = (".gz", ".zst")


class Read(Protocol):
    """Reads one container."""

    def __call__(self, path: File, keep: Container[int] | None = None) -> Iterator[Item]:
        """Yield the rows of a file; rows outside `keep` may be left out."""
        ...


def ending(path: File) -> str:
    """Return the file name ending that says what a file holds, compression left off."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def known(path: File) -> bool:
    """Tell whether a file's name says that it is a pool file."""
    return ending(path) in READERS


def reader(path: File) -> Read:
    """Return what reads a file. Raises PoolError for an unknown ending, `UNREADABLE`."""
    name = READERS.get(ending(path))
    if name is None:
        raise PoolError(
            f"cannot tell what {path} holds from its name; "
            f"known endings: {', '.join(READERS)}, each also with .gz or .zst"
        )
    if name in ("json_array", "jsonl"):
        name = _json_kind(path)
    read: Read = importlib.import_module(f"{__name__}.{name}").read
    return read


def _json_kind(path: File) -> str:
    """Tell an array from JSON lines by content: endings are often wrong."""
    with Chunks(path) as chunks:
        head = chunks.read()
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise PoolError(f"{path} is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8 {path.name}")
    head = head.removeprefix(codecs.BOM_UTF8).lstrip()
    first, _, rest = head.partition(b"\n")
    if first.strip() == b"{":
        raise PoolError(
            f"{path} holds JSON objects spread over several lines; "
            "make it an array ([…]) or one object a line: jq -c . FILE > FILE.jsonl"
        )
    if not first.startswith(b"["):
        return "jsonl"
    # A line that is a whole array, with more lines after it, is a (bad) row of JSON lines.
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return "json_array"
    return "jsonl" if rest.strip() else "json_array"
