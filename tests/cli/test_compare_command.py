"""`instructmine compare`: what it prints."""

import json

import pytest

from pools import write
from tiny_models import CHATML


@pytest.fixture
def command(tiny, pool, tmp_path):
    evaluation = write(
        tmp_path / "eval.jsonl",
        [{"prompt": f"Which colour has number {n} on the old wheel?", "response": "Blue."}
         for n in range(3)],
    )  # fmt: skip
    base = tiny("llama", template=CHATML)
    return ["compare", str(pool), "--base-model", str(base), "--eval", f"wheel={evaluation}",
            "--size", "8", "--strategies", "longest,base", "--seeds", "2", "--threads", "1",
            "--device", "cpu", "--set", "sft.batch_size=4", "--set", "sft.epochs=1"]  # fmt: skip


def test_it_prints_a_table_per_eval_set_and_a_sentence_per_strategy(run, command, tmp_path):
    out = tmp_path / "comparison.parquet"
    code, text, error = run(*command, "-o", out)
    assert code == 0, error
    assert "── wheel, 8 rows (loss in nats per token; lower is better)" in text
    assert "random" in text and "reference" in text
    assert "longest: at 8 " in text and "than random" in text
    assert f"wrote {out} (comparison)" in text
    code, text, _ = run(*command, "-o", out, "--json")
    found = json.loads(text)
    assert code == 0 and {row["strategy"] for row in found["results"]} == {
        "random", "longest", "base"
    }  # fmt: skip
    code, text, _ = run(*command, "--dry-run")
    assert code == 0 and "4 trials of 40 rows, 4 of them finished" in text


def test_without_an_output_it_asks_for_one(run, command):
    code, _, error = run(*command)
    assert code == 2 and "-o comparison.parquet" in error


def test_the_strategies_are_listed(run):
    code, text, _ = run("list", "strategies")
    assert code == 0 and "target-in-rule" in text and "the better 50% by the rule" in text
