"""Small helpers for the tests of reading and writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from instructmine.formats import open_pool
from instructmine.pool import Example, Message, PoolRow

ALPACA = {"instruction": "Add.", "input": "1 and 2", "output": "3"}


def example(*pairs: tuple[str, str]) -> Example:
    """An example from (role, content) pairs."""
    return Example(tuple(Message(role, content) for role, content in pairs))


def write_jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def read_rows(path: Path | str, **options: Any) -> list[PoolRow]:
    return list(open_pool([path], **options))


def read_one(tmp_path: Path, record: Any, **options: Any) -> PoolRow:
    """Read a record as the only row of a file."""
    (row,) = read_rows(write_jsonl(tmp_path / "one.jsonl", [record]), **options)
    return row


def chats(rows: list[PoolRow]) -> list[list[tuple[str, str]] | None]:
    """Roles and contents of every row, None for a rejected one."""
    return [row.example and [(m.role, m.content) for m in row.example.messages] for row in rows]
