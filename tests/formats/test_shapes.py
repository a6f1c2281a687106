"""Every row shape, read as the conversation it means."""

from __future__ import annotations

import pytest
from format_helpers import chats, read_one, read_rows, write_jsonl

U, A, S, T = "user", "assistant", "system", "tool"
QA = [(U, "q"), (A, "a")]

SHAPES = {
    "alpaca": ({"instruction": "q", "input": "", "output": "a"}, QA),
    "alpaca without input": ({"instruction": "q", "output": "a"}, QA),
    "alpaca with null input": ({"instruction": "q", "input": None, "output": "a"}, QA),
    "alpaca with blank input": ({"instruction": "q", "input": " \n", "output": "a"}, QA),
    "alpaca with input": (
        {"instruction": "q", "input": "x", "output": "a"},
        [(U, "q\nx"), (A, "a")],
    ),
    "alpaca, only input": ({"instruction": "", "input": "x", "output": "a"}, [(U, "x"), (A, "a")]),
    "alpaca with system": (
        {"instruction": "q", "input": "", "output": "a", "system": "s"},
        [(S, "s"), *QA],
    ),
    "alpaca with history": (
        {"instruction": "q", "input": "", "output": "a", "history": [["q0", "a0"], ["q1", "a1"]]},
        [(U, "q0"), (A, "a0"), (U, "q1"), (A, "a1"), *QA],
    ),
    "alpaca with empty history": ({"instruction": "q", "output": "a", "history": []}, QA),
    "alpaca with response": (
        {"instruction": "q", "input": "x", "response": "a"},
        [(U, "q\nx"), (A, "a")],
    ),
    "alpaca with both": ({"instruction": "q", "input": "", "response": "b", "output": "a"}, QA),
    "dolly": (
        {"instruction": "q", "context": "c", "response": "a", "category": "qa"},
        [(U, "q\nc"), (A, "a")],
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
        QA,
    ),
    "sharegpt with system column": (
        {
            "system": "s",
            "conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}],
        },
        [(S, "s"), *QA],
    ),
    "sharegpt with tools": (
        {
            "conversations": [
                {"from": "system", "value": "s"},
                {"from": "human", "value": "q"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "42"},
                {"from": "gpt", "value": "a"},
            ]
        },
        [(S, "s"), (U, "q"), (A, "{}"), (T, "42"), (A, "a")],
    ),
    "lima": ({"conversations": ["q0", "a0", "q", "a"]}, [(U, "q0"), (A, "a0"), *QA]),
    "messages": (
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        QA,
    ),
    "messages with parts": (
        {
            "messages": [
                {"role": "User ", "content": [{"type": "text", "text": "q"}]},
                {"role": "assistant", "content": ["a", {"text": "b"}]},
            ]
        },
        [(U, "q"), (A, "ab")],
    ),
    "messages with developer, function and empty system": (
        {
            "messages": [
                {"role": "system", "content": ""},
                {"role": "developer", "content": "s"},
                {"role": "function", "content": "f"},
                {"role": "assistant", "content": "a"},
            ]
        },
        [(S, "s"), (T, "f"), (A, "a")],
    ),
    "messages, assistant first": (
        {"messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "q"}]},
        [(A, "hi"), (U, "q")],
    ),
    "messages, roles repeated": (
        {
            "messages": [
                {"role": "user", "content": "q0"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"},
                {"role": "assistant", "content": "b"},
            ]
        },
        [(U, "q0"), (U, "q"), (A, "a"), (A, "b")],
    ),
    "prompt/completion": ({"prompt": "q", "completion": "a"}, QA),
    "prompt/completion of messages": (
        {
            "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
            "completion": [{"role": "assistant", "content": "a"}],
        },
        [(S, "s"), *QA],
    ),
    "prompt/response": ({"prompt": "q", "response": "a"}, QA),
    "openorca": (
        {"id": "1", "system_prompt": "s", "question": "q", "response": "a"},
        [(S, "s"), *QA],
    ),
    "question/answer": ({"question": "q", "answer": "a"}, QA),
    "question/answer with context": (
        {"question": "q", "answer": "a", "context": "c"},
        [(U, "q\nc"), (A, "a")],
    ),
    "self-instruct": (
        {
            "instruction": "q",
            "instances": [{"input": "x", "output": "a"}, {"input": "", "output": "b"}],
        },
        [(U, "q\nx"), (A, "a")],
    ),
    "preference texts": ({"prompt": "q", "chosen": "a", "rejected": "b"}, QA),
    "preference alpaca": (
        {"instruction": "q", "input": "x", "chosen": "a", "rejected": "b"},
        [(U, "q\nx"), (A, "a")],
    ),
    "preference of whole conversations": (
        {
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        },
        QA,
    ),
    "preference, prompt repeated in chosen": (
        {
            "prompt": "q",
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
            "rejected": [],
        },
        QA,
    ),
    "preference of llamafactory": (
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "a"},
            "rejected": {"from": "gpt", "value": "b"},
        },
        QA,
    ),
    "inputs/targets": ({"inputs": "q", "targets": "a"}, QA),
    "unused columns are null": ({"messages": None, "instruction": "q", "output": "a"}, QA),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape(tmp_path, name):
    record, expected = SHAPES[name]
    row = read_one(tmp_path, record)
    assert row.rejection is None
    assert chats([row]) == [expected]
    assert row.record == record


def test_the_same_conversation_has_one_id_in_every_shape(tmp_path):
    same = [record for record, expected in SHAPES.values() if expected == QA]
    rows = read_rows(write_jsonl(tmp_path / "all.jsonl", same))
    assert len({row.example.id for row in rows}) == 1
    assert len(rows) > 10


def test_mixed_shapes_in_one_file_are_read_each_by_its_own(tmp_path):
    records = [record for record, _ in SHAPES.values()]
    rows = read_rows(write_jsonl(tmp_path / "all.jsonl", records))
    assert chats(rows) == [expected for _, expected in SHAPES.values()]


MISFITS = {
    "missing response": ({"instruction": "q"}, "output missing"),
    "null response": ({"instruction": "q", "input": "", "output": None}, "output is null"),
    "true for text": ({"instruction": "q", "output": True}, "output is true, not text"),
    "number for text": ({"instruction": 3, "output": "a"}, "instruction is a number, not text"),
    "list for text": ({"instruction": "q", "output": ["a"]}, "output is a list, not text"),
    "object for input": ({"instruction": "q", "input": {}, "output": "a"}, "input is an object"),
    "bad history": (
        {"instruction": "q", "output": "a", "history": [["q"]]},
        "turn 1 of history is no pair of texts",
    ),
    "unknown role": (
        {"messages": [{"role": "narrator", "content": "x"}]},
        "message 1 of messages has the unknown role 'narrator'",
    ),
    "role that is no text": ({"messages": [{"role": 7, "content": "x"}]}, "unknown role '7'"),
    "no assistant": (
        {"messages": [{"role": "user", "content": "q"}]},
        "no message of the assistant",
    ),
    "no messages": ({"messages": []}, "messages is empty"),
    "messages is text": ({"messages": "hello"}, "messages is text, not a list"),
    "message is text": ({"messages": [{"role": "user", "content": "q"}, "a"]}, "message 2 of"),
    "null content": (
        {"messages": [{"role": "assistant", "content": None}]},
        "message 1 of messages has no text",
    ),
    "image part": (
        {"messages": [{"role": "assistant", "content": [{"type": "image_url", "image_url": "u"}]}]},
        "a part that is not text (image_url)",
    ),
    "tool calls": (
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}]},
        "calls a tool",
    ),
    "no role": ({"messages": [{"content": "q"}]}, "has no role"),
    "transcript in chosen": ({"chosen": "Human: q Assistant: a", "rejected": ""}, "one text"),
    "no instances": ({"instruction": "q", "instances": []}, "instances is empty"),
    "nothing known": ({"title": "x", "body": "y"}, "output missing"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_rejected_with_its_reason(tmp_path, name):
    record, reason = MISFITS[name]
    good = {"instruction": "q", "input": "", "output": "a"}
    first, row, last = read_rows(write_jsonl(tmp_path / "a.jsonl", [good, record, good]))
    assert (row.example, row.row) == (None, 1)
    assert reason in row.rejection
    assert row.rejection.startswith("line 2: ")
    assert row.raw
    assert first.example.id == last.example.id


def test_an_empty_response_is_kept(tmp_path):
    row = read_one(tmp_path, {"instruction": "q", "input": "", "output": ""})
    assert row.example.response == ""
