r"""JSON lines: one value a line, split on `\n` only (U+2028 and U+0085 occur inside strings)."""

from __future__ import annotations

from collections.abc import Container, Iterator

from instructmine.formats._containers._bytes import MAX_ROW_BYTES, Chunks, File
from instructmine.formats._json import RowDecoder, explain
from instructmine.formats._rows import Item, Unfit, clip

BOM = b"\xef\xbb\xbf"
_JSON_SPACE = " \t\r\n"


def read(path: File, keep: Container[int] | None = None) -> Iterator[Item]:
    """Yield one item per line that is not blank; rows outside `keep` are not decoded.

    A line that cannot be read becomes an item with a problem and the file goes on.
    """
    decoder = RowDecoder()
    row = -1
    for line, data in enumerate(_lines(path), 1):
        if data is not None and not data.strip():
            continue
        row += 1
        if keep is not None and row not in keep:
            continue
        if data is None:
            problem = f"the line is longer than {MAX_ROW_BYTES >> 20} MB"
            yield Item(row, None, line, problem)
        else:
            yield _item(decoder, row, line, data)


def _item(decoder: RowDecoder, row: int, line: int, data: bytes) -> Item:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        problem = f"invalid UTF-8 at byte {error.start + 1} of the line"
        return Item(row, None, line, problem, clip(data.decode("utf-8", "backslashreplace")))
    text = text.strip(_JSON_SPACE)
    try:
        value, end = decoder.decode(text)
        decoder.check(value, text, 0, end, invalid_bytes=False)
    except Unfit as error:
        return Item(row, None, line, str(error), clip(text))
    except (ValueError, RecursionError) as error:
        return Item(row, None, line, explain(error), clip(text))
    if end != len(text):
        problem = f"broken JSON: extra text at character {end + 1}"
        return Item(row, None, line, problem, clip(text))
    return Item(row, value, line)


def _lines(path: File) -> Iterator[bytes | None]:
    """Yield lines without their end; None stands for one too long to hold."""
    with Chunks(path) as chunks:
        parts: list[bytes] = []  # the beginning of the line that the next chunk goes on with
        size = 0
        first = True
        while chunk := chunks.read():
            if first:
                chunk = chunk.removeprefix(BOM)
                first = False
            head, *rest = chunk.split(b"\n")
            size += len(head)
            if size <= MAX_ROW_BYTES:
                parts.append(head)
            else:
                parts.clear()
            if rest:
                yield b"".join(parts) if size <= MAX_ROW_BYTES else None
                yield from rest[:-1]
                parts = [rest[-1]]
                size = len(rest[-1])
        if size:
            yield b"".join(parts) if size <= MAX_ROW_BYTES else None
