"""What containers give and row shapes refuse: one item per row, one reason per refusal."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

CLIP = 500  # characters of a bad row that are kept to show what it was


class Item(NamedTuple):
    """One row of a container: a value, or the problem that kept it from being read.

    row counts from 0 within the file, unreadable rows included; line counts from 1, 0 where the
    container has no lines. raw is the clipped text of a row with a problem.
    """

    row: int
    value: Any
    line: int = 0
    problem: str = ""
    raw: str = ""


class Unfit(Exception):
    """A row cannot become an example; the message says why."""


class BrokenFile(Exception):
    """A file cannot be read any further; the message says why."""


def clip(text: str) -> str:
    """Return the beginning of a text, marked where it was cut, safe to encode."""
    text = text if len(text) <= CLIP else text[:CLIP] + "…"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def show(value: Any) -> str:
    """Return a value as clipped JSON-like text, whatever it holds."""
    try:
        return clip(to_json(value))
    except (TypeError, ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be shown"


def kind(value: Any) -> str:
    """Name a value the way a reader of JSON would."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def to_json(value: Any) -> str:
    """Return a value as one line of JSON, Unicode as it is wherever UTF-8 can hold it."""
    text = json.dumps(value, ensure_ascii=False, default=_plain)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # a lone surrogate: only an escape can carry it
            text = json.dumps(value, default=_plain)
    return text


def _plain(value: Any) -> Any:
    """Return a JSON form for the types that only typed containers (Parquet) hold."""
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
