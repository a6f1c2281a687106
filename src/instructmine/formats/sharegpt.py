"""`sharegpt`: one list of {from, value} per row."""

from __future__ import annotations

from typing import Any, ClassVar

from instructmine.formats._format import RecordFormat
from instructmine.pool import Example, PoolRow

_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}


class Sharegpt(RecordFormat):
    """Carries every conversation as it is, and the row's other columns."""

    taken: ClassVar[tuple[str, ...]] = ("conversations",)

    def record(self, example: Example, row: PoolRow) -> dict[str, Any]:
        """Return {"conversations": [...]}."""
        return {
            "conversations": [
                {"from": _SPEAKERS[message.role], "value": message.content}
                for message in example.messages
            ]
        }
