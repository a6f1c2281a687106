"""Prompts of evaluation files, with or without responses."""

from __future__ import annotations

import pytest
from format_helpers import write_jsonl

from instructmine.errors import PoolError, UsageError
from instructmine.formats import open_prompts

SHAPES = {
    "mt-bench": ({"question_id": 1, "turns": ["q", "r"]}, ("q", "r")),
    "text": ({"question_id": 1, "text": "q"}, ("q",)),
    "prompt": ({"id": "k", "prompt": "q"}, ("q",)),
    "Instruction": ({"Skill": "Math", "Instruction": "q"}, ("q",)),
    "instruction and input": ({"instruction": "q", "input": "x"}, ("q\nx",)),
    "instances": ({"instruction": "q", "instances": [{"input": "x", "output": "a"}]}, ("q\nx",)),
    "question": ({"question": "q", "answer": "a"}, ("q",)),
    "conversations is text": ({"conversations": "q"}, ("q",)),
    "conversations of one": ({"conversations": ["q"]}, ("q",)),
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "r"},
            ]
        },
        ("q", "r"),
    ),
    "prompt of messages": ({"prompt": [{"role": "user", "content": "q"}]}, ("q",)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_prompt(tmp_path, name):
    record, expected = SHAPES[name]
    path = write_jsonl(tmp_path / "a.jsonl", [record])
    prompts = open_prompts(path)
    assert list(prompts) == [(str(path), 0, expected)]
    assert [prompt.prompt for prompt in prompts] == ["\n".join(expected)]


def test_rows_without_a_prompt_are_kept_aside(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"prompt": "q"}, {"prompt": 3}, [], {"x": "y"}])
    prompts = open_prompts([path])
    for _ in range(2):
        assert [prompt.row for prompt in prompts] == [0]
        assert [row.row for row in prompts.rejected] == [1, 2, 3]
    assert "no column holds a prompt; its columns: x" in prompts.rejected[2].rejection


def test_a_file_without_prompts(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"x": "y"}])
    with pytest.raises(PoolError, match="holds no prompts; its columns: x; name the one"):
        list(open_prompts(path))


def test_a_named_column(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", [{"d": {"ask": "q"}}])
    assert [p.messages for p in open_prompts(path, mapping={"prompt": "d.ask"})] == [("q",)]
    with pytest.raises(UsageError):
        open_prompts(path, mapping={"response": "d"})


def test_evaluation_files(shared_data):
    expected = {
        "flask_evaluation.jsonl": 1740, "gsm8k_test.jsonl": 1319, "koala_test_set.jsonl": 180,
        "lima_test_set.jsonl": 300, "mt_bench_question.jsonl": 80,
        "oasst1_validation_prompts.jsonl": 953, "self_instruct_user_oriented_252.jsonl": 252,
        "sinstruct_test_set.jsonl": 252, "vicuna_test_set.jsonl": 80,
        "wizardlm_test_set.jsonl": 218,
    }  # fmt: skip
    for name, count in expected.items():
        prompts = open_prompts(shared_data / "eval" / name)
        assert sum(1 for _ in prompts) == count, name
        assert prompts.rejected == []
