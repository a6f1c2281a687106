"""`messages`: one list of {role, content} per row."""

from __future__ import annotations

from typing import Any, ClassVar

from instructmine.formats._format import RecordFormat, chat
from instructmine.pool import Example, PoolRow


class Messages(RecordFormat):
    """Carries every conversation as it is, and the row's other columns."""

    taken: ClassVar[tuple[str, ...]] = ("messages",)

    def record(self, example: Example, row: PoolRow) -> dict[str, Any]:
        """Return {"messages": [...]}."""
        return {"messages": chat(example)}
