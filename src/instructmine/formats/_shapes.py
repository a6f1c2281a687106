"""Row shapes: which columns make a row an example, and how. One table, small pure functions.

To add a shape, write a function record → messages that raises `Unfit` with a reason, and put a
`Shape` in the table at the bottom: the first shape whose required columns are filled reads a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from instructmine.formats._conversation import as_list, read_messages
from instructmine.formats._rows import Unfit, kind
from instructmine.pool import Message

Record = Mapping[str, Any]
Messages = tuple[Message, ...]
Reader = Callable[[Record], Messages]

SYSTEM_COLUMNS = ("system", "system_prompt")


@dataclass(frozen=True)
class Shape:
    """One way in which a row spells an example.

    required: columns that must be filled. optional: further columns that `read` uses.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Reader

    @property
    def columns(self) -> frozenset[str]:
        """Every column whose meaning the example carries."""
        return frozenset(self.required + self.optional)

    def fits(self, record: Record) -> bool:
        """Tell whether every required column is filled (with more than empty text)."""
        get = record.get
        return all(get(column) not in (None, "") for column in self.required)


def text(record: Record, column: str) -> str:
    """Return a column's text. Raises Unfit when it is missing or anything but text."""
    value = record.get(column)
    if isinstance(value, str):
        return value
    if value is None:
        raise Unfit(f"{column} is null" if column in record else f"{column} is missing")
    raise Unfit(f"{column} is {kind(value)}, not text")


def optional_text(record: Record, column: str) -> str:
    """Return a column's text, "" where it is missing or null."""
    return "" if record.get(column) is None else text(record, column)


def with_input(instruction: str, more: str) -> str:
    r"""Return the Alpaca prompt: instruction + "\n" + input, as LLaMA-Factory joins them."""
    if not more.strip():
        return instruction
    return f"{instruction}\n{more}" if instruction else more


def system_of(record: Record) -> Messages:
    """Return the system message that a column of its own holds, if any."""
    for column in SYSTEM_COLUMNS:
        content = optional_text(record, column)
        if content:
            return (Message("system", content),)
    return ()


def history_of(value: Any) -> Messages:
    """Return the earlier turns of an Alpaca row: a list of [prompt, response] pairs."""
    if value is None or value == "" or value == []:
        return ()
    messages: list[Message] = []
    for position, pair in enumerate(as_list(value, "history"), 1):
        pair = pair if isinstance(pair, (list, tuple)) else ()
        if len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise Unfit(f"turn {position} of history is no pair of texts")
        messages += Message("user", pair[0]), Message("assistant", pair[1])
    return tuple(messages)


def prompted(prompt_column: str, response_column: str, input_column: str = "") -> Reader:
    """Return the reader of rows with a prompt and a response column, and perhaps an input."""

    def read(record: Record) -> Messages:
        prompt = text(record, prompt_column)
        if input_column:
            prompt = with_input(prompt, optional_text(record, input_column))
        answer = Message("assistant", text(record, response_column))
        head = system_of(record) + history_of(record.get("history"))
        return (*head, Message("user", prompt), answer)

    return read


def prompt_response(prompt_column: str, response_column: str) -> Reader:
    """Return the reader of prompt/response columns that hold texts, or messages as in TRL."""
    plain = prompted(prompt_column, response_column, "context")

    def read(record: Record) -> Messages:
        prompt, response = record.get(prompt_column), record.get(response_column)
        if isinstance(prompt, str) and isinstance(response, str):
            return plain(record)
        return _joined(record, prompt_column, response_column)

    return read


def _joined(record: Record, prompt_column: str, response_column: str) -> Messages:
    """Join a prompt and a response of which at least one is a list of messages."""
    prompt, response = record.get(prompt_column), record.get(response_column)
    if isinstance(response, Mapping):
        response = [response]
    if isinstance(response, (list, tuple)):
        answer = read_messages(response, response_column)
    else:
        answer = (Message("assistant", text(record, response_column)),)
    if any(message.role == "user" for message in answer):
        return _with_system(record, answer)  # the response holds the whole conversation
    if isinstance(prompt, (list, tuple)):
        head = read_messages(prompt, prompt_column)
    else:
        head = (Message("user", text(record, prompt_column)),)
    return _with_system(record, head + answer)


def conversation(column: str) -> Reader:
    """Return the reader of one column that holds the whole conversation."""

    def read(record: Record) -> Messages:
        return _with_system(record, read_messages(record.get(column), column))

    return read


def preferred(column: str) -> Reader:
    """Return the reader of a conversation whose chosen reply stands in a column of its own."""

    def read(record: Record) -> Messages:
        return _joined(record, column, "chosen")

    return read


def chosen_conversation(record: Record) -> Messages:
    """Read a preference row whose `chosen` holds the whole conversation as messages.

    A transcript in one text ("Human: … Assistant: …") has no one reading and is refused.
    """
    chosen = record.get("chosen")
    if isinstance(chosen, str):
        raise Unfit("chosen is one text without a prompt column; split it into prompt and response")
    return _with_system(record, read_messages(chosen, "chosen"))


def first_instance(record: Record) -> Messages:
    """Read a Self-Instruct task: the instruction with the input and output of instance 0."""
    instances = as_list(record.get("instances"), "instances")
    if not instances or not isinstance(instances[0], Mapping):
        raise Unfit("instances is empty or holds no objects")
    joined = with_input(text(record, "instruction"), optional_text(instances[0], "input"))
    return Message("user", joined), Message("assistant", text(instances[0], "output"))


def _with_system(record: Record, messages: Messages) -> Messages:
    """Put the system column first unless the conversation brings its own system message."""
    if any(message.role == "system" for message in messages):
        return messages
    return system_of(record) + messages


_TURNS = (*SYSTEM_COLUMNS, "history")
_CONVERSATIONS = ("messages", "conversations", "conversation")
_PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("question", "response"),
    ("query", "response"),
    ("prompt", "output"),
    ("prompt", "answer"),
    ("instruction", "completion"),
    ("instruction", "answer"),
)

SHAPES: tuple[Shape, ...] = (
    *(
        Shape(f"preference on {column}", (column, "chosen"), SYSTEM_COLUMNS, preferred(column))
        for column in _CONVERSATIONS
    ),
    *(Shape(column, (column,), SYSTEM_COLUMNS, conversation(column)) for column in _CONVERSATIONS),
    Shape(
        "Alpaca",
        ("instruction", "output"),
        ("input", *_TURNS),
        prompted("instruction", "output", "input"),
    ),
    Shape(
        "Alpaca with response",
        ("instruction", "response", "input"),
        _TURNS,
        prompted("instruction", "response", "input"),
    ),
    Shape(
        "Dolly",
        ("instruction", "response"),
        ("context", "input", *_TURNS),
        prompted("instruction", "response", "context"),
    ),
    Shape("Self-Instruct", ("instruction", "instances"), (), first_instance),
    *(
        Shape(
            f"{prompt}/{response}",
            (prompt, response),
            ("context", *_TURNS),
            prompt_response(prompt, response),
        )
        for prompt, response in _PAIRS
    ),
    Shape(
        "preference",
        ("prompt", "chosen"),
        SYSTEM_COLUMNS,
        prompt_response("prompt", "chosen"),
    ),
    Shape(
        "preference on question",
        ("question", "chosen"),
        SYSTEM_COLUMNS,
        prompt_response("question", "chosen"),
    ),
    Shape(
        "preference on instruction",
        ("instruction", "chosen"),
        ("input", *_TURNS),
        prompted("instruction", "chosen", "input"),
    ),
    Shape("chosen conversation", ("chosen", "rejected"), SYSTEM_COLUMNS, chosen_conversation),
    Shape("input/output", ("input", "output"), _TURNS, prompt_response("input", "output")),
    Shape("inputs/targets", ("inputs", "targets"), _TURNS, prompt_response("inputs", "targets")),
)


def recognise(record: Record, own: Shape | None = None) -> Shape | None:
    """Return the shape of a record: the file's own where it fits as well as any other.

    A shape whose columns are filled comes before one whose columns are only not null, and that
    before one whose columns merely exist: unions of files leave columns empty.
    """
    if own is not None and own.fits(record):
        return own
    filled = {name for name, value in record.items() if value not in (None, "")}
    not_null = {name for name, value in record.items() if value is not None}
    for names in (filled, not_null, set(record)):
        if own is not None and names.issuperset(own.required):
            return own
        for shape in SHAPES:
            if names.issuperset(shape.required):
                return shape
    return None


def example_messages(messages: Messages) -> Messages:
    """Return messages that make an example. Raises Unfit without an assistant message."""
    for message in messages:
        if message.role == "assistant":
            return messages
    raise Unfit("no message of the assistant")
