"""Prompts to answer, with what is known of them: earlier messages, follow-ups, references."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from instructmine.errors import PoolError, UsageError
from instructmine.formats._files import PoolFile
from instructmine.formats._pool import open_pool
from instructmine.formats._prompts import read_prompt
from instructmine.formats._rows import Item, Unfit
from instructmine.formats._sources import labelled
from instructmine.pool import Message
from instructmine.verdicts import Prompt

_REFERENCES = ("reference", "references")


def read_questions(file: str | os.PathLike[str], *, limit: int | None = None) -> list[Prompt]:
    """Read what models are to answer, from a pool of any shape or a file of prompts.

    A conversation is answered at its last assistant message, which is the reference. `turns`, as
    in MT-Bench, are asked one after the other, each behind the model's own answers; `reference`
    may hold an answer per turn. limit: at most so many, from the start.

    Raises UsageError naming the first row that holds no prompt, PoolError for a file that cannot
    be read.
    """
    files = [PoolFile(label, place) for label, place, _ in labelled([file], [])]
    first = next((item for one in files for item in one.items()), None)
    if first is not None and isinstance(first.value, dict) and _turns(first.value) is None:
        try:
            return _from_pool(file, files, limit)
        except PoolError:
            pass  # no pool, but perhaps prompts alone
    found: list[Prompt] = []
    rows = ((one.label, item) for one in files for item in one.items())
    for label, item in itertools.islice(rows, limit):
        place = f"{label}:{item.row}"
        if item.problem or not isinstance(item.value, dict):
            raise _unreadable(place, item.problem or "the row is no object")
        found.append(_prompt(item.value, place))
    if not found:
        raise PoolError(f"{file} holds no prompts; give another file")
    return found


def _from_pool(
    file: str | os.PathLike[str], files: Sequence[PoolFile], limit: int | None
) -> list[Prompt]:
    found = []
    raw: dict[str, Item] = {}  # read when a row is no example: it may hold a prompt all the same
    for row in itertools.islice(open_pool([file]), limit):
        place = f"{row.source}:{row.row}"
        if row.example is not None and row.example.turns:
            turn = row.example.turns[-1]
            references = (turn.response,) if turn.response.strip() else ()
            found.append(Prompt(turn.history, references=references, place=place))
            continue
        raw = raw or {f"{one.label}:{item.row}": item for one in files for item in one.items()}
        value = raw[place].value if place in raw else row.record
        if not isinstance(value, dict):
            raise _unreadable(place, row.rejection or "no object")
        found.append(_prompt(value, place))
    return found


def _prompt(record: Mapping[str, Any], place: str) -> Prompt:
    """Return the prompt of a row that has no answer of its own."""
    turns = _turns(record)
    if turns is None:
        try:
            turns = ["\n\n".join(read_prompt(record))]
        except Unfit as unfit:
            raise _unreadable(place, str(unfit)) from None
    history = (Message("user", turns[0]),)
    return Prompt(history, tuple(turns[1:]), _references(record, len(turns)), place)


def _turns(record: Mapping[str, Any]) -> list[str] | None:
    """Return the user's turns as MT-Bench writes them, or None."""
    for name, value in record.items():
        if name.lower() == "turns" and isinstance(value, list) and value:
            return value if all(isinstance(one, str) for one in value) else None
    return None


def _references(record: Mapping[str, Any], turns: int) -> tuple[str, ...]:
    """Return one reference per turn, or () where the row holds another number of them."""
    for name, value in record.items():
        if name.lower() in _REFERENCES:
            found = [value] if isinstance(value, str) else value
            if isinstance(found, list) and len(found) == turns and all(map(_text, found)):
                return tuple(found)
    return ()


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _unreadable(place: str, why: str) -> UsageError:
    return UsageError(f"{place} holds no prompt to answer ({why}); mend or drop the row")
