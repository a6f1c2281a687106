"""Decodes JSON rows exactly: nothing is guessed, what has no one meaning is refused."""

from __future__ import annotations

import json
from typing import Any

from instructmine.formats._rows import Unfit

TOO_DEEP = "the JSON is nested too deeply"


class RowDecoder:
    """Decodes one JSON value at a time and refuses duplicate keys and lone surrogates.

    Raw control characters inside strings are accepted: they occur in real files and have one
    meaning. Huge integers and deep nesting are refused, as Python cannot hold them safely.
    """

    def __init__(self) -> None:
        self._duplicate: str | None = None
        self._decoder = json.JSONDecoder(strict=False, object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            keys = [key for key, _ in pairs]
            self._duplicate = next(key for key in keys if keys.count(key) > 1)
        return record

    def decode(self, text: str, start: int = 0) -> tuple[Any, int]:
        """Return the value that begins at `start` and where it ends.

        Raises json.JSONDecodeError for broken JSON, RecursionError for deep nesting, ValueError
        for an integer that is too long to convert.
        """
        self._duplicate = None
        return self._decoder.raw_decode(text, start)

    def check(self, value: Any, text: str, start: int, end: int, invalid_bytes: bool) -> None:
        """Refuse the value just decoded from `text[start:end]` if it has no one meaning.

        Raises Unfit for a duplicate key, and for text that UTF-8 cannot hold: a lone surrogate
        or, where the file has invalid bytes, such a byte.
        """
        if self._duplicate is not None:
            raise Unfit(f"the key {self._duplicate[:80]!r} occurs twice in one object")
        escaped = text.find("\\ud", start, end) >= 0 or text.find("\\uD", start, end) >= 0
        if not (escaped or invalid_bytes):
            return
        try:
            found = _unencodable(value, "")
        except RecursionError:
            raise Unfit(TOO_DEEP) from None
        if found is not None:
            place, is_byte = found
            what = "invalid UTF-8" if is_byte and invalid_bytes else "a lone surrogate"
            raise Unfit(f"{what} in {place or 'the row'}")


def _unencodable(value: Any, place: str) -> tuple[str, bool] | None:
    """Return where a text that UTF-8 cannot hold sits, and whether it stems from a bad byte."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return place, "\udc80" <= value[error.start] <= "\udcff"
        return None
    if isinstance(value, dict):
        for key, item in value.items():
            inside = f"{place}.{key}" if place else key
            found = _unencodable(key, "a key") or _unencodable(item, inside)
            if found:
                return found
    elif isinstance(value, list):
        for position, item in enumerate(value):
            found = _unencodable(item, f"{place}[{position}]")
            if found:
                return found
    return None


def explain(error: Exception, start: int = 0) -> str:
    """Say in a few words why JSON text could not be decoded."""
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg} at character {error.pos - start + 1}"
    if isinstance(error, RecursionError):
        return TOO_DEEP
    return "the JSON holds a number with too many digits"
