import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import instructmine as im
from instructmine.errors import InstructmineError, UsageError
from pools import rows, write

QUICK = {"indicators": ["length", "mtld"]}


@pytest.fixture
def pool(tmp_path):
    return write(tmp_path / "pool.jsonl", rows(30))


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))


def test_the_table_has_the_stated_columns_in_pool_order(pool, tmp_path):
    result = im.score(pool, out=tmp_path / "scores.parquet", **QUICK)
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == [
        "source", "row", "id", "input_length", "output_length", "log_output_length", "mtld",
        "errors",
    ]  # fmt: skip
    assert table.column("row").to_pylist() == list(range(30))
    assert set(result.files) == {"scores", "manifest", "rejected"}
    manifest = json.loads((tmp_path / "scores.manifest.json").read_text())
    assert manifest["pool"]["rows"] == 30
    assert manifest["indicators"]["mtld"]["computed"] == 30


def test_a_second_run_computes_nothing(pool):
    first = im.score(pool, **QUICK)
    second = im.score(pool, **QUICK)
    assert second.scores.table.equals(first.scores.table)
    done = second.manifest["indicators"]
    assert {name: one["computed"] for name, one in done.items()} == {"length": 0, "mtld": 0}


def test_a_stopped_run_goes_on_to_the_scores_of_a_run_in_one_go(tmp_path, monkeypatch):
    monkeypatch.setattr("instructmine.stages._measure.SMALLEST_CHUNK", 1)
    monkeypatch.setattr("instructmine.stages._measure.CHUNKS", 5)
    pool = ["examples/pool.jsonl"]
    whole = im.score(pool, indicators=["reward"], workdir=tmp_path / "whole", threads=1)

    def stop(what, done, total):
        if what == "scoring reward" and done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        im.score(pool, indicators=["reward"], workdir=tmp_path / "again", threads=1, progress=stop)
    again = im.score(pool, indicators=["reward"], workdir=tmp_path / "again", threads=1)
    assert 0 < again.manifest["indicators"]["reward"]["computed"] < 350
    # Batches are cut alike, so not even rounding differs.
    assert again.scores.table.equals(whole.scores.table)


def test_the_neighbours_of_a_grown_pool_come_from_those_of_the_pool_it_was(tmp_path, monkeypatch):
    """Copies too: a row of which another copy comes gets it for a neighbour."""
    records = rows(30)
    small = write(tmp_path / "small.jsonl", [*records, records[4]])
    large = write(tmp_path / "large.jsonl", [*rows(6, start=30), records[4], *records, records[4]])
    anew = im.score(large, indicators=["knn"], workdir=tmp_path / "other")
    im.score(small, indicators=["knn"])
    monkeypatch.setattr("instructmine.indicators.knn.neighbour_distances", None)
    found = im.score(large, indicators=["knn"])
    # Embedded in other batches, the vectors differ in their last bits.
    np.testing.assert_allclose(found.scores.column("knn6"), anew.scores.column("knn6"), rtol=1e-6)


def test_a_grown_pool_computes_only_what_is_new(pool, tmp_path):
    im.score(pool, **QUICK)
    grown = write(tmp_path / "grown.jsonl", rows(33))
    manifest = im.score(grown, **QUICK).manifest
    assert manifest["indicators"]["mtld"]["computed"] == 3


def test_pools_that_overlap_share_across_formats(pool, tmp_path):
    im.score(pool, **QUICK)
    other = [
        {"messages": [{"role": "user", "content": r["instruction"]},
                      {"role": "assistant", "content": r["output"]}]}
        for r in rows(30)
    ]  # fmt: skip
    manifest = im.score(write(tmp_path / "other.jsonl", other), **QUICK).manifest
    assert manifest["indicators"]["mtld"]["computed"] == 0


def test_duplicates_are_scored_once_and_stand_in_every_row(tmp_path):
    pool = write(tmp_path / "twice.jsonl", rows(10) + rows(10))
    result = im.score(pool, **QUICK)
    assert result.manifest["indicators"]["mtld"]["computed"] == 10
    values = result.scores.column("mtld")
    np.testing.assert_array_equal(values[:10], values[10:])


def test_another_option_is_another_recipe(pool):
    im.score(pool, **QUICK)
    changed = im.score(pool, set=["mtld.threshold=0.5"], **QUICK)
    assert changed.manifest["indicators"]["mtld"]["computed"] == 30
    assert changed.manifest["indicators"]["length"]["computed"] == 0


def test_what_cannot_be_scored_is_null_with_a_reason(tmp_path):
    records = rows(30)
    records[4]["output"] = " "
    scores = im.score(write(tmp_path / "p.jsonl", records), **QUICK).scores
    assert np.isnan(scores.column("mtld")[4])
    assert scores.table.column("errors")[4].as_py() == "mtld: empty response"
    assert scores.table.column("errors").null_count == 29


def test_too_many_unscorable_rows_stop_the_run_unless_allowed(tmp_path):
    records = rows(30)
    for record in records[:3]:
        record["output"] = ""
    pool = write(tmp_path / "p.jsonl", records)
    with pytest.raises(InstructmineError, match=r"3 of 30 rows cannot be scored .*empty response"):
        im.score(pool, **QUICK)
    assert len(im.score(pool, allow_unscorable=True, **QUICK)) == 30


def test_rejected_rows_are_written_with_their_place(tmp_path):
    pool = write(tmp_path / "p.jsonl", rows(30))
    with pool.open("a") as handle:
        handle.write('{"instruction": "x", "output": true}\n{"instr\n')
    result = im.score(pool, out=tmp_path / "s.parquet", **QUICK)
    lines = (tmp_path / "s.rejected.jsonl").read_text().splitlines()
    rejected = [json.loads(line) for line in lines]
    assert [row["row"] for row in rejected] == [30, 31]
    assert all(row["reason"] and row["raw"] for row in rejected)
    assert result.manifest["pool"]["rejected"] == 2


def test_a_dry_run_counts_and_scores_nothing(pool):
    plan = im.score(pool, dry_run=True, **QUICK)
    assert (plan.rows, plan.distinct, plan.work["mtld"]["rows"]) == (30, 30, 30)
    assert plan.work["mtld"]["seconds"] is None
    im.score(pool, **QUICK)
    counted = int(im.score(pool, **QUICK).scores.matrix(["input_length", "output_length"]).sum())
    assert plan.tokens == counted
    again = im.score(pool, dry_run=True, **QUICK)
    assert again.work["mtld"] == {**plan.work["mtld"], "rows": 0, "stored": 30, "seconds": 0.0}


def test_progress_ends_at_the_total(pool):
    seen = {}
    im.score(pool, progress=lambda what, done, total: seen.update({what: (done, total)}), **QUICK)
    assert seen == {"scoring length": (30, 30), "scoring mtld": (30, 30)}


def test_an_unknown_indicator_gets_a_suggestion(pool):
    with pytest.raises(UsageError, match="did you mean .*perplexity"):
        im.score(pool, indicators=["perplexty"])


def test_scores_are_parquet_only(pool, tmp_path):
    with pytest.raises(UsageError, match=r"name the output scores\.parquet"):
        im.score(pool, out=tmp_path / "scores.csv", **QUICK)


def test_the_pool_scope_follows_the_pool(pool, tmp_path):
    first = im.score(pool, indicators=["knn"])
    other = write(tmp_path / "half.jsonl", rows(15))
    second = im.score(other, indicators=["knn"])
    assert second.manifest["indicators"]["knn"]["computed"] == 15
    near, far = first.scores.column("knn6")[:15], second.scores.column("knn6")
    assert (near <= far + 1e-6).all()
    assert (near < far - 1e-6).any()
