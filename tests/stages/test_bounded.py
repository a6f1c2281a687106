"""What is handled in blocks says the same whatever the size of a block."""

import json

import numpy as np
import pyarrow as pa
import pytest

import instructmine as im
from instructmine.stages import _columns, _index
from instructmine.stages._columns import repeated, sparse
from pools import rows, write


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """Rows with every kind of reason: unscorable, copies, near-copies, unreadable."""
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    records = rows(30)
    records[3]["output"] = ""
    long = " ".join(f"word{k} follows another" for k in range(40))
    records[7]["output"], records[11]["output"] = long, long + " finally"
    records[11]["instruction"] = records[7]["instruction"]
    path = write(tmp_path / "p.jsonl", [*records, records[5], {"instruction": 5}, records[6]])
    with path.open("a", encoding="utf-8") as handle:
        handle.write("{broken\n" * 40)
    return path


def chosen(pool, out):
    return im.select(pool, size=9, rule="mtld:higher", dedup="near", out=out, allow_unscorable=True)


@pytest.mark.parametrize("block", [1, 4, 7])
def test_decisions_do_not_depend_on_the_block(pool, tmp_path, monkeypatch, block):
    whole = chosen(pool, tmp_path / "whole.jsonl")
    monkeypatch.setattr(_columns, "ROWS", block)
    monkeypatch.setattr(_index, "_REJECTED_BYTES", 100)
    parts = chosen(pool, tmp_path / "parts.jsonl")
    assert parts.decisions.to_pylist() == whole.decisions.to_pylist()
    assert parts.reasons == whole.reasons
    assert set(whole.reasons) == {
        "selected", "below cut", "duplicate", "near-duplicate", "unscorable"
    }  # fmt: skip
    assert parts.manifest["selection"] == whole.manifest["selection"]
    for ending in (".jsonl", ".rejected.jsonl"):
        texts = [(tmp_path / f"{name}{ending}").read_bytes() for name in ("whole", "parts")]
        assert texts[0] == texts[1]


def test_rejected_rows_are_written_in_order_with_their_reason(pool, tmp_path):
    chosen(pool, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.rejected.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert [one["row"] for one in found] == [31, *range(33, 73)]
    assert found[0]["reason"].startswith("line 32: ")
    assert found[1]["raw"] == "{broken"


def test_the_best_and_the_worst_places(pool, tmp_path):
    result = chosen(pool, None)
    ranked = result.ranked
    assert result.places(1, 3).equals(ranked.slice(0, 3))
    last = ranked.num_rows
    assert result.places(last - 1, last).equals(ranked.slice(last - 2))


@pytest.mark.parametrize("block", [1, 3, 100])
def test_columns_in_blocks(monkeypatch, block):
    monkeypatch.setattr(_columns, "ROWS", block)
    assert sparse(5, {4: "b", 1: "a"}).to_pylist() == [None, "a", None, None, "b"]
    assert sparse(0, {}).type == pa.string()
    codes = np.array([1, 0, 1, 1], dtype=np.int32)
    assert repeated(["x", "y"], codes).to_pylist() == ["y", "x", "y", "y"]
