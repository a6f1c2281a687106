"""The nouns of a pool: messages, turns, examples, and the rows they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from instructmine.identity import example_id

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One assistant response with everything said before it."""

    history: tuple[Message, ...]
    response: str

    @property
    def prompt(self) -> str:
        """The text that the response answers: the last user message, or ""."""
        for message in reversed(self.history):
            if message.role == "user":
                return message.content
        return ""


@dataclass(frozen=True)
class Example:
    """One instruction example: a conversation with at least one assistant message.

    source and row say where it was read (row is 0-based in its file, rejected rows counted);
    they are no part of its identity.
    """

    messages: tuple[Message, ...]
    source: str = ""
    row: int = -1

    @cached_property
    def id(self) -> str:
        """32 hex digits over roles and contents in NFC: equal examples share it everywhere."""
        return example_id((message.role, message.content) for message in self.messages)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Every assistant message with its history, in order."""
        return tuple(
            Turn(self.messages[:position], message.content)
            for position, message in enumerate(self.messages)
            if message.role == "assistant"
        )

    @property
    def prompt(self) -> str:
        """Everything but the assistant's words, joined by newlines (for prompts-only uses)."""
        return "\n".join(m.content for m in self.messages if m.role == "user")

    @property
    def response(self) -> str:
        """All assistant messages, joined by newlines."""
        return "\n".join(m.content for m in self.messages if m.role == "assistant")

    @classmethod
    def single(cls, prompt: str, response: str, system: str = "") -> Example:
        """Build a one-turn example."""
        head = (Message("system", system),) if system else ()
        return cls((*head, Message("user", prompt), Message("assistant", response)))


@dataclass(frozen=True)
class PoolRow:
    """One row of a pool file: the record as it came, and the example or why there is none."""

    source: str
    row: int
    record: Mapping[str, Any] | None
    example: Example | None = None
    rejection: str | None = None
    raw: str = field(default="", repr=False)  # the text of a row that could not be read, clipped


class RowSource(Protocol):
    """Where rows can be read again by their places."""

    def fetch(self, places: Sequence[tuple[str, int]]) -> list[PoolRow]:
        """Return the rows at (source, row) places, in the order asked for."""
        ...
