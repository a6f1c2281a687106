"""CSV and TSV files with a header line."""

from __future__ import annotations

import csv
import io
from collections.abc import Container, Iterator
from typing import Any

from instructmine.formats._containers import ending
from instructmine.formats._containers._bytes import File, open_bytes
from instructmine.formats._rows import BrokenFile, Item, clip

MAX_FIELD = 64 << 20  # an unclosed quote swallows the file up to here
_DELIMITERS = (",", ";", "\t", "|")


def read(path: File, keep: Container[int] | None = None) -> Iterator[Item]:
    """Yield one item per record that is not blank; every value is text.

    A record with bad quoting or another number of fields than the header becomes an item with a
    problem and the file goes on with the next line.
    """
    csv.field_size_limit(MAX_FIELD)
    with (
        open_bytes(path) as handle,
        # Invalid bytes come back as lone surrogates, so that one bad row does not end the file.
        io.TextIOWrapper(handle, "utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        first = text.readline()
        # The first line may hold only a part of a quoted header; it is enough for the delimiter.
        delimiter = _delimiter(path, first)
        lines = csv.reader(_chain(first, text), delimiter=delimiter, strict=True)
        try:
            header = next(lines, [])
        except csv.Error as error:
            raise BrokenFile(f"the header line cannot be read ({error})") from error
        if len(set(header)) != len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise BrokenFile(f"two columns are called {clip(twice)!r}")
        yield from _items(lines, header, keep)


def _items(lines: Any, header: list[str], keep: Container[int] | None) -> Iterator[Item]:
    row = -1
    while True:
        line = lines.line_num + 1
        try:
            fields = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            row += 1
            yield Item(row, None, line, f"broken CSV: {error}")
            continue
        if not fields:
            continue
        row += 1
        if keep is not None and row not in keep:
            continue
        joined = "\x1f".join(fields)
        if len(fields) != len(header):
            problem = f"{len(fields)} fields where the header has {len(header)}"
            yield Item(row, None, line, problem, clip(joined.replace("\x1f", " | ")))
        elif not joined.isascii() and not _encodable(joined):
            yield Item(row, None, line, "invalid UTF-8", clip(joined.replace("\x1f", " | ")))
        else:
            yield Item(row, dict(zip(header, fields, strict=True)), line)


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _delimiter(path: File, header: str) -> str:
    """Return the tab for TSV, else the commonest delimiter of the header line."""
    if ending(path) == ".tsv":
        return "\t"
    return max(_DELIMITERS, key=header.count)  # the comma wins a tie: it is first
