"""What the hand-over formats share: a messages file that a trainer loads without surprises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from instructmine.formats._format import Chosen, chat
from instructmine.pool import Example

ENDINGS = (".jsonl", ".json", ".parquet")  # what every trainer's loader opens
_PLAIN = (str, bool, int, float)


def examples(chosen: Chosen) -> list[Example]:
    """Return the examples of the chosen rows."""
    return [row.example for row in chosen.rows if row.example is not None]


def chat_records(chosen: Chosen, taken: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return one {"messages", …} record per row, and notes on columns that are left out.

    `datasets` guesses one type per column from the first rows and fails on later ones that
    differ. So another column comes along only if every row has it, with one plain type.
    """
    others = [chosen.others(row, taken) for row in chosen.rows]
    names = list(dict.fromkeys(name for other in others for name in other))
    safe = [name for name in names if _one_type([other.get(name) for other in others])]
    records = [
        {"messages": chat(example)} | {name: other[name] for name in safe}
        for example, other in zip(examples(chosen), others, strict=True)
    ]
    left_out = [name for name in names if name not in safe]
    note = f"left out columns that not every row has with one plain type: {', '.join(left_out)}"
    return records, [note] if left_out else []


def _one_type(values: list[Any]) -> bool:
    return type(values[0]) in _PLAIN and len({type(value) for value in values}) == 1


def stem(out: Path) -> str:
    """Return an output's name without its ending."""
    return out.name.removesuffix("".join(out.suffixes[-1:]))


def quoted(text: str | Path) -> str:
    """Return text as a YAML string: a JSON string is one."""
    return json.dumps(str(text), ensure_ascii=False)
