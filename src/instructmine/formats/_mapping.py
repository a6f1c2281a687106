"""A row shape made of the user's `--map` (or `mapping=`): meaning → column or dotted path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructmine.errors import UsageError
from instructmine.formats._shapes import (
    Messages,
    Record,
    Shape,
    conversation,
    prompt_response,
    prompted,
)
from instructmine.plugins import unknown

MEANINGS = ("prompt", "response", "input", "system", "history", "messages")
ABSENT = object()


def mapped_shape(mapping: Mapping[str, str]) -> Shape:
    """Return the shape that a mapping describes.

    It needs `messages`, or `prompt` and `response`; `system`, and with prompts `input` and
    `history`, may come along. A path such as `data.turns.0` goes into objects and lists; a
    column whose own name holds the dots comes first.

    Raises UsageError for an unknown meaning or an incomplete mapping.
    """
    for meaning in mapping:
        if meaning not in MEANINGS:
            raise UsageError(unknown("mapped field", meaning, MEANINGS))
    if "messages" in mapping:
        needed: tuple[str, ...] = ("messages",)
        extra = [meaning for meaning in mapping if meaning not in ("messages", "system")]
        if extra:
            raise UsageError(f"a mapping of messages already holds {' and '.join(extra)}; drop it")
        read = conversation(mapping["messages"])
    else:
        needed = ("prompt", "response")
        missing = [meaning for meaning in needed if meaning not in mapping]
        if missing:
            raise UsageError(
                f"the mapping lacks {' and '.join(missing)}; "
                "write --map prompt=COLUMN,response=COLUMN or --map messages=COLUMN"
            )
        prompt, response = mapping["prompt"], mapping["response"]
        plain = prompted(prompt, response, mapping.get("input", ""))
        chat = prompt_response(prompt, response)

        def read(record: Record) -> Messages:
            texts = all(isinstance(record.get(path), str) for path in (prompt, response))
            return plain(record) if texts or "input" in mapping else chat(record)

    def read_mapped(record: Record) -> Messages:
        return read(_flat(record, mapping))

    paths = tuple(mapping[meaning] for meaning in needed)
    others = tuple(path for meaning, path in mapping.items() if meaning not in needed)
    return Shape("mapping", paths, others, read_mapped)


def find(record: Record, path: str) -> Any:
    """Return what lies at a dotted path, or `ABSENT`."""
    if path in record:
        return record[path]
    value: Any = record
    for step in path.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, Sequence) and not isinstance(value, str) and step.isdecimal():
            if int(step) >= len(value):
                return ABSENT
            value = value[int(step)]
        else:
            return ABSENT
    return value


def present(record: Record, shape: Shape) -> bool:
    """Tell whether a record has every place that a mapped shape requires."""
    return all(find(record, path) is not ABSENT for path in shape.required)


def _flat(record: Record, mapping: Mapping[str, str]) -> dict[str, Any]:
    """Return only what was mapped, under the names that the readers look for."""
    fixed = {"system", "history"}  # these readers look for a column of that name
    found: dict[str, Any] = {}
    for meaning, path in mapping.items():
        value = find(record, path)
        if value is not ABSENT:
            found[meaning if meaning in fixed else path] = value
    return found
