"""`alpaca`: instruction, input, output; earlier turns as history, the system prompt as system."""

from __future__ import annotations

from typing import Any, ClassVar

from instructmine.formats._format import RecordFormat
from instructmine.formats._rows import Unfit
from instructmine.formats._shapes import with_input
from instructmine.pool import Example, PoolRow


class Alpaca(RecordFormat):
    """Carries conversations in which user and assistant alternate, the assistant last."""

    taken: ClassVar[tuple[str, ...]] = ("instruction", "input", "output", "system", "history")

    def record(self, example: Example, row: PoolRow) -> dict[str, Any]:
        """Return the Alpaca record; `system` and `history` only where there are any.

        Raises Unfit for a conversation that is not made of user/assistant pairs.
        """
        messages = list(example.messages)
        system = messages.pop(0).content if messages[0].role == "system" else ""
        roles = [message.role for message in messages]
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            raise Unfit("user and assistant do not take turns")
        texts = [message.content for message in messages]
        *history, (prompt, output) = zip(texts[::2], texts[1::2], strict=True)
        instruction, more = _split(prompt, row)
        record: dict[str, Any] = {"instruction": instruction, "input": more, "output": output}
        if system:
            record["system"] = system
        if history:
            record["history"] = [list(pair) for pair in history]
        return record


def _split(prompt: str, row: PoolRow) -> tuple[str, str]:
    """Return instruction and input as the row itself divides them, else all as instruction."""
    record = row.record or {}
    instruction = record.get("instruction")
    for column in ("input", "context"):
        more = record.get(column)
        if not isinstance(instruction, str) or not isinstance(more, str):
            continue
        if with_input(instruction, more) == prompt:
            return instruction, more
    return prompt, ""
