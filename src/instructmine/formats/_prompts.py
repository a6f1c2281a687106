"""Prompts of evaluation and target files, which often have no responses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from instructmine.errors import PoolError, UsageError
from instructmine.formats._conversation import as_list, read_messages
from instructmine.formats._files import PoolFile, named, rejected
from instructmine.formats._mapping import ABSENT, find
from instructmine.formats._rows import Item, Unfit, kind
from instructmine.formats._shapes import optional_text, text, with_input
from instructmine.formats._sources import labelled
from instructmine.pool import PoolRow

_CONVERSATIONS = ("messages", "conversations", "conversation")
_TEXTS = ("prompt", "question", "query", "text", "input", "inputs")


class Prompt(NamedTuple):
    """What a user asks in one row: every user message, in order."""

    source: str
    row: int
    messages: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The user messages as one text."""
        return "\n".join(self.messages)


class Prompts:
    """The prompts of one or more files; iterating reads them anew.

    Attributes:
        sources: labels of the files, as in a pool.
        rejected: rows of the latest pass that held no prompt, each with its reason.
    """

    def __init__(self, files: Sequence[PoolFile], column: str | None) -> None:
        self._files = files
        self._column = column
        self.sources = [file.label for file in files]
        self.rejected: list[PoolRow] = []

    def __iter__(self) -> Iterator[Prompt]:
        """Yield the prompt of every row that has one.

        Raises PoolError for a file of which no row has one.
        """
        self.rejected = []
        for file in self._files:
            found = False
            columns: list[str] = []
            for item in file.items():
                try:
                    messages = self._messages(item)
                except Unfit as unfit:
                    self.rejected.append(rejected(file.label, item, str(unfit)))
                    columns = columns or (list(item.value) if isinstance(item.value, dict) else [])
                else:
                    found = True
                    yield Prompt(file.label, item.row, messages)
            if not found:
                raise PoolError(
                    f"{file.label} holds no prompts; its columns: {named(columns)}; "
                    "name the one that does: prompt=COLUMN"
                )

    def _messages(self, item: Item) -> tuple[str, ...]:
        if item.problem:
            raise Unfit(item.problem)
        if not isinstance(item.value, dict):
            raise Unfit(f"the row is {kind(item.value)}, not an object")
        if self._column is None:
            return read_prompt(item.value)
        value = find(item.value, self._column)
        if value is ABSENT:
            raise Unfit(f"{self._column} is missing")
        return _user_messages(value, self._column)


def open_prompts(
    sources: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    *,
    mapping: Mapping[str, str] | None = None,
) -> Prompts:
    """Open files for their prompts only: pools of any shape, and files without responses.

    Read are conversations (their user messages), `turns` as in MT-Bench, `instruction` with
    `input`, `context` or the first of `instances`, and else `prompt`, `question`, `query`, `text`
    or `input`, whatever their case. `mapping={"prompt": COLUMN}` names another column or path.

    Raises PoolError when a file cannot be read, UsageError for a mapping without prompt.
    """
    if mapping and not mapping.get("prompt"):
        raise UsageError("a mapping for prompts must name the prompt: prompt=COLUMN")
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    files = [PoolFile(label, place) for label, place, _ in labelled(given, [])]
    return Prompts(files, mapping["prompt"] if mapping else None)


def read_prompt(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the user messages of a record. Raises Unfit when it has none."""
    filled: dict[str, Any] = {}
    for name, value in record.items():
        if value not in (None, ""):
            filled.setdefault(name.lower(), value)
    for column in (*_CONVERSATIONS, "turns"):
        if column in filled:
            return _user_messages(filled[column], column)
    if "instruction" in filled:
        return (with_input(text(filled, "instruction"), _input(filled)),)
    for column in _TEXTS:
        if column in filled:
            return _user_messages(filled[column], column)
    raise Unfit(f"no column holds a prompt; its columns: {named(list(record))}")


def _user_messages(value: Any, column: str) -> tuple[str, ...]:
    if isinstance(value, str) and not (column in _CONVERSATIONS and value.startswith("[")):
        return (value,)
    entries = as_list(value, column)
    if column == "turns" and entries and all(isinstance(entry, str) for entry in entries):
        return tuple(entries)  # MT-Bench: turns are the user's alone
    messages = read_messages(entries, column)
    asked = tuple(message.content for message in messages if message.role == "user")
    if not asked:
        raise Unfit(f"no message of the user in {column}")
    return asked


def _input(record: Mapping[str, Any]) -> str:
    for column in ("input", "context"):
        if column in record:
            return optional_text(record, column)
    instances = record.get("instances")
    if isinstance(instances, list) and instances and isinstance(instances[0], Mapping):
        return optional_text(instances[0], "input")
    return ""
