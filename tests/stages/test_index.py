"""The index of a pool: rows read again are the same rows, and few are parsed once for all."""

import numpy as np
import pytest

from instructmine.formats import Pool, open_pool
from instructmine.stages import _index
from instructmine.stages._index import index_pool
from pools import write

ROWS = [{"prompt": f"How many is {n}?", "response": f"{n} of them."} for n in range(9)]


@pytest.fixture
def index(tmp_path):
    return index_pool(open_pool(write(tmp_path / "pool.jsonl", ROWS)))


@pytest.fixture
def passes(monkeypatch):
    """The places of every pass over the pool's files."""
    made = []
    read = Pool.rows_at
    monkeypatch.setattr(
        Pool, "rows_at", lambda pool, wanted: made.append(wanted) or read(pool, wanted)
    )
    return made


def wanted(*positions):
    chosen = np.zeros(len(ROWS), dtype=bool)
    chosen[list(positions)] = True
    return chosen


def prompts(index, *positions):
    return {p: e.messages[0].content for p, e in index.examples(wanted(*positions))}


def test_the_same_rows_are_parsed_once_whoever_asks(index, passes):
    first = prompts(index, 2, 7)
    assert first == {2: "How many is 2?", 7: "How many is 7?"}
    assert prompts(index, 2, 7) == first and prompts(index, 7) == {7: first[7]}
    assert prompts(index) == {} and len(passes) == 1
    assert prompts(index, 7, 8) == {7: "How many is 7?", 8: "How many is 8?"}
    assert len(passes) == 2


def test_a_pass_broken_off_is_not_taken_for_a_whole_one(index, passes):
    assert next(index.examples(wanted(2, 7)))[0] == 2
    assert list(prompts(index, 2, 7)) == [2, 7] and len(passes) == 2


def test_many_rows_are_not_held(index, passes, monkeypatch):
    monkeypatch.setattr(_index, "_KEPT_BYTES", 5 * _index._EXAMPLE_BYTES)
    assert len(prompts(index, *range(9))) == 9
    assert list(prompts(index, 0, 1)) == [0, 1] and len(passes) == 2
    assert list(prompts(index, 0, 1)) == [0, 1] and len(passes) == 2
