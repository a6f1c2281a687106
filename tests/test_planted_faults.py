"""The example pool's planted faults sink under the starter profile, as `make demo` runs it."""

import json
from pathlib import Path

import numpy as np
import pytest

import instructmine as im

POOL = Path(__file__).parents[1] / "examples" / "pool.jsonl"
# What a small reward model can see in the text. Wrong facts it cannot: they are fluent, and
# nothing but knowledge tells them apart; the documents say so.
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
    """Return the chance that a bad row has the worse quality than a good one."""
    bad, good = np.asarray(bad)[:, None], np.asarray(good)[None, :]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))


def qualities(rows, fault):
    return [row["quality"] for row in rows if row["fault"] == fault and row["quality"] is not None]


@pytest.mark.parametrize("fault", VISIBLE)
def test_each_visible_fault_sinks(decided, fault):
    assert auroc(qualities(decided, fault), qualities(decided, "")) > 0.6


def test_the_faults_together_sink_well(decided):
    bad = [quality for fault in VISIBLE for quality in qualities(decided, fault)]
    assert auroc(bad, qualities(decided, "")) > 0.75


def test_few_visible_faults_are_chosen(decided):
    pool_share = np.mean([row["fault"] in VISIBLE for row in decided])
    chosen_share = np.mean([row["fault"] in VISIBLE for row in decided if row["selected"]])
    assert chosen_share < pool_share / 3


def test_empty_answers_are_unscorable(decided):
    reasons = {row["reason"] for row in decided if row["fault"] == "empty"}
    assert reasons == {"unscorable: reward: empty response"}


def test_copies_are_left_out_once(decided):
    exact = [row for row in decided if row["fault"] == "exact-duplicate"]
    twins = {row["id"] for row in exact}
    for twin in twins:
        reasons = [row["reason"] for row in decided if row["id"] == twin]
        assert sum(reason.startswith("duplicate of") for reason in reasons) == len(reasons) - 1


def test_most_near_copies_are_found(decided):
    planted = sum(row["fault"] == "near-duplicate" for row in decided)
    found = sum(row["reason"].startswith("near-duplicate of") for row in decided)
    assert planted / 2 <= found <= planted
