"""Memory stays bounded, however large the file."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from instructmine.formats import open_pool

ROWS = 30_000  # 30 MB
RECORD = {"instruction": "q", "input": "", "output": "word " * 190}


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    folder = tmp_path_factory.mktemp("big")
    text = json.dumps(RECORD)
    (folder / "a.json").write_text("[\n" + ",\n".join([text] * ROWS) + "\n]")
    (folder / "a.jsonl").write_text(f"{text}\n" * ROWS)
    return folder


def peak(path, work):
    pool = open_pool([path])
    tracemalloc.start()
    try:
        work(pool)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_iterating_holds_a_few_megabytes(big, name):
    def count(pool):
        assert sum(row.example is not None for row in pool) == ROWS

    assert peak(big / name, count) < 8 << 20


def test_fetching_holds_the_chosen_rows(big):
    def fetch(pool):
        assert len(pool.fetch([(pool.sources[0], row) for row in range(0, ROWS, 1000)])) == 30

    assert peak(big / "a.jsonl", fetch) < 8 << 20


def test_a_line_or_row_without_end_is_not_swallowed(tmp_path, monkeypatch):
    from instructmine.formats._containers import json_array, jsonl

    monkeypatch.setattr(jsonl, "MAX_ROW_BYTES", 3 << 20)
    monkeypatch.setattr(json_array, "MAX_ROW_BYTES", 3 << 20)
    good = json.dumps(RECORD)
    long = json.dumps(RECORD | {"output": "x" * (9 << 20)})
    (tmp_path / "a.jsonl").write_text(f"{good}\n{long}\n{good}\n{long}")
    rows = list(open_pool(tmp_path / "a.jsonl"))
    assert [row.rejection for row in rows] == [
        None, "line 2: the line is longer than 3 MB", None, "line 4: the line is longer than 3 MB"
    ]  # fmt: skip
    (tmp_path / "a.json").write_text(f"[{good},{long},{good}]")
    rows = list(open_pool(tmp_path / "a.json"))
    assert len(rows) == 2
    assert "a row is longer than 3 MB; the rest of the file is unreadable" in rows[1].rejection
