"""The example pool's planted faults sink under the starter profile, as `make demo` runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

import instructmine as im

POOL = Path(__file__).parents[1] / "examples" / "pool.jsonl"
# What the small reward model behind the rule's gate can see in the text. Wrong facts it cannot:
# they are fluent, and nothing but knowledge tells them apart; the documents say so.
VISIBLE = [
    "truncated", "off-topic", "repetitive", "wrong-language", "unnatural", "refusal",
    "prompt-copy", "placeholder",
]  # fmt: skip


@pytest.fixture(scope="module")
def decided(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    chosen = im.select(POOL, size=50, dedup="near", workdir=work, threads=1)
    rows = [json.loads(line) for line in POOL.read_text(encoding="utf-8").split("\n") if line]
    return [
        {**row, **decision}
        for row, decision in zip(rows, chosen.decisions.to_pylist(), strict=True)
    ]


def auroc(bad, good):
    """Return the chance that a bad row ranks behind a good one; half where neither ranks."""
    bad, good = np.asarray(bad)[:, None], np.asarray(good)[None, :]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))


def places(rows, *faults):
    """Return the ranks of scored rows; those that the rule's gate kept out come last."""
    return [
        len(rows) if row["rank"] is None else row["rank"]
        for row in rows
        if row["fault"] in faults and (row["rank"] or row["reason"].startswith("gated"))
    ]


@pytest.mark.parametrize("fault", VISIBLE)
def test_each_visible_fault_sinks(decided, fault):
    assert auroc(places(decided, fault), places(decided, "")) > 0.55


def test_the_faults_together_sink(decided):
    assert auroc(places(decided, *VISIBLE), places(decided, "")) > 0.65


def test_fewer_visible_faults_are_chosen(decided):
    pool_share = np.mean([row["fault"] in VISIBLE for row in decided])
    chosen_share = np.mean([row["fault"] in VISIBLE for row in decided if row["selected"]])
    assert chosen_share < pool_share / 2


def test_empty_answers_are_unscorable(decided):
    reasons = {row["reason"] for row in decided if row["fault"] == "empty"}
    assert all(reason.startswith("unscorable: ") for reason in reasons)


def test_copies_are_left_out_once(decided):
    exact = [row for row in decided if row["fault"] == "exact-duplicate"]
    twins = {row["id"] for row in exact}
    for twin in twins:
        assert sum(row["id"] == twin and row["rank"] is not None for row in decided) <= 1


def test_most_near_copies_are_found(decided, tmp_path):
    planted = sum(row["fault"] == "near-duplicate" for row in decided)
    ungated = im.select(POOL, size=50, dedup="near", rule="output_length:higher", workdir=tmp_path)
    assert planted / 2 <= ungated.reasons["near-duplicate"] <= planted
