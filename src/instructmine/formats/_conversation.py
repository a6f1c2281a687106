"""Turns lists of messages, in every spelling seen in the wild, into messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from instructmine.formats._rows import Unfit, kind
from instructmine.pool import Message, Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    # The assistant speaks a call; the tool speaks its result.
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_ROLE_KEYS = ("role", "from")
_TEXT_KEYS = ("content", "value", "text")


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list, also from the JSON text that CSV files hold one in.

    Raises Unfit for anything else.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unfit(f"{name} begins like a JSON list but is broken") from error
    if not isinstance(value, (list, tuple)):
        raise Unfit(f"{name} is {kind(value)}, not a list")
    return list(value)


def read_messages(value: Any, name: str) -> tuple[Message, ...]:
    """Return the messages of a list of {role, content} or {from, value}, or of plain texts.

    Plain texts alternate, the user first (LIMA). An empty system message is no message; all
    else stays as it comes: order, repeated roles, an assistant who begins.

    Raises Unfit for an unknown role, content that is not text, tool calls, an empty list.
    """
    entries = as_list(value, name)
    if not entries:
        raise Unfit(f"{name} is empty")
    if all(isinstance(entry, str) for entry in entries):
        return tuple(
            Message("assistant" if position % 2 else "user", entry)
            for position, entry in enumerate(entries)
        )
    messages = (_message(entry, name, position) for position, entry in enumerate(entries, 1))
    return tuple(m for m in messages if not (m.role == "system" and m.content == ""))


def _message(entry: Any, name: str, position: int) -> Message:
    if not isinstance(entry, Mapping):
        raise Unfit(f"message {position} of {name} is {kind(entry)}, not an object")
    role_key = next((key for key in _ROLE_KEYS if key in entry), None)
    text_key = next((key for key in _TEXT_KEYS if entry.get(key) is not None), None)
    if role_key is None:
        raise Unfit(f"message {position} of {name} has no role; its keys: {_keys(entry)}")
    spoken = entry[role_key]
    role = ROLES.get(spoken.strip().lower()) if isinstance(spoken, str) else None
    if role is None:
        raise Unfit(f"message {position} of {name} has the unknown role {str(spoken)[:40]!r}")
    if entry.get("tool_calls") or entry.get("function_call"):
        raise Unfit(f"message {position} of {name} calls a tool, which is not read")
    if text_key is None:
        raise Unfit(f"message {position} of {name} has no text; its keys: {_keys(entry)}")
    return Message(role, _content(entry[text_key], name, position))


def _content(value: Any, name: str, position: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "".join(_part(part, name, position) for part in value)
    raise Unfit(f"the content of message {position} of {name} is {kind(value)}, not text")


def _part(part: Any, name: str, position: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type", "text") == "text":
        text = part.get("text")
        if isinstance(text, str):
            return text
    what = part.get("type") if isinstance(part, Mapping) else kind(part)
    raise Unfit(f"message {position} of {name} has a part that is not text ({str(what)[:40]})")


def _keys(entry: Mapping[str, Any]) -> str:
    return ", ".join(str(key) for key in list(entry)[:8]) or "none"
