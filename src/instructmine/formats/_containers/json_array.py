"""A JSON array, streamed: one decoded element at a time over a sliding window of text.

The standard library's scanner works on a window as well as on a whole file. ijson was measured
and is twice as fast, but on a 22 MB file that is a tenth of a second, and it is not exact: it
turns lone surrogates into "?", keeps the last of two equal keys, and ends the file at an integer
beyond 64 bits, NaN, a raw control character or an invalid byte, where here one row is rejected.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Container, Iterator
from typing import Any

from instructmine.formats._containers._bytes import CHUNK, MAX_ROW_BYTES, Chunks, File
from instructmine.formats._json import RowDecoder, explain
from instructmine.formats._rows import Item, Unfit, clip

_SPACE = re.compile(r"[ \t\r\n]*")
# An error this near the end of the window may only mean that the window ends there.
_EDGE = 32
_CUT = "the file ends inside the array"
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|"', re.DOTALL)
_AFTER_NUMBER = re.compile(r"[^-+.eE0-9]")


def read(path: File, keep: Container[int] | None = None) -> Iterator[Item]:
    """Yield one item per element; `keep` is left to the caller, as every element is decoded.

    Where the array is broken the rows before are kept and one last item says so, with the byte
    offset: nothing after it can be trusted to be a row.
    """
    with Chunks(path) as chunks:
        yield from _Array(chunks).items()


class _Broken(Exception):
    """The array cannot be followed beyond a position of the window."""

    def __init__(self, reason: str, position: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


class _Array:
    """Walks the elements of one array over a window of decoded text."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks
        # Invalid bytes become lone surrogates and come back as the same bytes when encoded.
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._decoder = RowDecoder()
        self._window = ""
        self._dropped_bytes = 0  # bytes of the file before the window
        self._ended = False
        self._invalid_bytes = False

    def items(self) -> Iterator[Item]:
        row = 0
        position = 0
        try:
            position = self._skip(0)
            position = self._skip(position + self._window.startswith("\ufeff", position))
            if not self._window.startswith("[", position):
                raise _Broken("an array must begin with [", position)
            position = self._skip(position + 1)
            while not self._window.startswith("]", position):
                item, position = self._element(row, position)
                yield item
                row += 1
                position = self._skip(position)
                if self._window.startswith(",", position):
                    position = self._skip(position + 1)
                elif not self._window.startswith("]", position):
                    raise _Broken("a comma or ] is missing", position)
                position = self._slide(position)
            position = self._skip(position + 1)
            if position < len(self._window):
                raise _Broken("there is text after the end of the array", position)
        except _Broken as broken:
            before = self._window[: broken.position].encode("utf-8", "surrogateescape")
            offset = self._dropped_bytes + len(before)
            reason = broken.reason
            if broken.position >= len(self._window):
                reason = _CUT
            problem = f"broken JSON at byte {offset}: {reason}; the rest of the file is unreadable"
            raw = clip(self._window[broken.position : broken.position + 2 * CHUNK])
            yield Item(row, None, 0, problem, raw)

    def _element(self, row: int, start: int) -> tuple[Item, int]:
        """Decode the element at `start` and return it with the position behind it."""
        try:
            value, end = self._decode(start)
        except json.JSONDecodeError as error:
            # While there was more to read, the window grew until the text ended or the file did.
            cut = error.msg.startswith("Unterminated")
            raise _Broken(_CUT if cut else error.msg, error.pos) from error
        except (ValueError, RecursionError) as error:
            end = self._end_of_value(start)
            return Item(row, None, 0, explain(error), clip(self._window[start:end])), end
        try:
            self._decoder.check(value, self._window, start, end, self._invalid_bytes)
        except Unfit as error:
            return Item(row, None, 0, str(error), clip(self._window[start:end])), end
        return Item(row, value), end

    def _decode(self, start: int) -> tuple[Any, int]:
        while True:
            try:
                value, end = self._decoder.decode(self._window, start)
            except json.JSONDecodeError as error:
                at_edge = error.pos >= len(self._window) - _EDGE
                if (at_edge or error.msg.startswith("Unterminated")) and self._grow(start):
                    continue
                raise
            # "12" at the edge may be the beginning of "123" or "12.5".
            if end < len(self._window) - _EDGE or not self._grow(start):
                return value, end

    def _end_of_value(self, start: int) -> int:
        """Return where a value ends that can be followed but not decoded."""
        while True:
            end = self._closing(start)
            if end is not None:
                return end
            if not self._grow(start):
                raise _Broken(_CUT, len(self._window))

    def _closing(self, start: int) -> int | None:
        """Return where the value at `start` ends, None if not within the window."""
        if self._window[start] not in "[{":  # a number
            match = _AFTER_NUMBER.search(self._window, start)
            return match.start() if match else None
        depth = 0
        for token in _TOKEN.finditer(self._window, start):
            first = token.group()[0]
            if token.group() == '"':
                return None  # a text that goes on beyond the window
            depth += (first in "[{") - (first in "]}")
            if depth == 0:
                return token.end()
        return None

    def _skip(self, position: int) -> int:
        """Return the position of the next character that is not white space."""
        while True:
            match = _SPACE.match(self._window, position)
            position = match.end() if match else position
            if position < len(self._window) or not self._grow(position):
                return position

    def _slide(self, position: int) -> int:
        """Forget the text before `position` once it is worth a copy."""
        if position < CHUNK:
            return position
        gone = self._window[:position]
        self._dropped_bytes += len(gone.encode("utf-8", "surrogateescape"))
        self._window = self._window[position:]
        return 0

    def _grow(self, start: int) -> bool:
        """Read on; False at the end of the file. What is read doubles with what is held."""
        if self._ended:
            return False
        if len(self._window) - start > MAX_ROW_BYTES:
            raise _Broken(f"a row is longer than {MAX_ROW_BYTES >> 20} MB", start)
        data = self._chunks.read(max(CHUNK, len(self._window) - start))
        self._ended = not data
        text = self._utf8.decode(data, final=self._ended)
        if not self._invalid_bytes and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                self._invalid_bytes = True
        self._window += text
        return True
