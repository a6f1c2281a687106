"""The store reads in batches, and a few ids of many by their places: what it says is the same."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest

from instructmine import parts as module
from instructmine import store as store_module
from instructmine.errors import StoreError
from instructmine.parts import Part, Places
from instructmine.recipes import Recipe
from instructmine.store import Store
from test_ids import random_ids

RECIPE = Recipe.of("toy", {"type": "Toy", "version": 1})
IDS = random_ids(600)


@pytest.fixture
def store(tmp_path):
    """Three parts; a third of the rows of the second were in the first, with other values."""
    made = Store(tmp_path / "work")
    rng = np.random.default_rng(0)
    for number, rows in enumerate((slice(0, 240), slice(160, 400), slice(400, 580))):
        part = IDS[rows]
        x = rng.normal(size=len(part))
        x[::50] = np.nan
        reasons = {p: f"reason {number}-{p}" for p in range(0, len(part), 50)}
        vectors = rng.normal(size=(len(part), 3)).astype(np.float32)
        made.publish(RECIPE, part, {"x": x, "v": vectors}, reasons, frozenset({1, 5}))
    return made


def answer(store, ids):
    found = store.read(RECIPE, ["x", "v"], ids)
    assert found.present.tolist() == (~store.missing(RECIPE, ["x", "v"], ids)).tolist()
    return found


def same(one, other):
    for name in one.values:
        np.testing.assert_array_equal(one.values[name], other.values[name])
    np.testing.assert_array_equal(one.present, other.present)
    np.testing.assert_array_equal(one.truncated, other.truncated)
    assert one.reasons == other.reasons


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_the_size_of_a_batch_changes_nothing(store, monkeypatch, batch):
    ids = np.concatenate([IDS[::-1], IDS[:50]])
    before = answer(store, ids)
    monkeypatch.setattr(module, "BATCH_ROWS", batch)
    same(answer(store, ids), before)
    monkeypatch.setattr(module, "_BATCH_VALUES", 6)  # two vectors
    same(answer(store, ids), before)


def test_the_first_part_of_an_example_counts(store):
    x = store.read(RECIPE, ["x"], IDS[160:240]).values["x"]
    first, second, _ = (part.batches() for part in store._opened(RECIPE.key))
    np.testing.assert_array_equal(x, next(first).column("x").to_numpy(False)[160:])
    assert not np.array_equal(x, next(second).column("x").to_numpy(False)[:80], equal_nan=True)


def test_a_few_ids_are_read_from_their_parts_alone(store, monkeypatch):
    few = IDS[[3, 170, 450, 599]]
    monkeypatch.setattr(store_module, "FEW", 10**6)
    whole = answer(store, few)
    monkeypatch.setattr(store_module, "FEW", 1)
    read = []
    original = Part.batches

    def noted(self, columns=None, groups=None):
        if columns != ["id"]:
            read.append(self.path)
        return original(self, columns, groups)

    monkeypatch.setattr(Part, "batches", noted)
    same(answer(store, few), whole)
    assert len(set(read)) == 3
    read.clear()
    store.read(RECIPE, ["x"], IDS[450:455])
    assert len(set(read)) == 1


def test_places_learn_of_new_parts_and_survive_a_compaction(store, monkeypatch):
    monkeypatch.setattr(store_module, "FEW", 1)
    asked = IDS[580:590]
    assert not answer(store, asked).present.any()
    store.publish(RECIPE, asked, {"x": np.arange(10.0), "v": np.ones((10, 3), np.float32)}, {})
    assert answer(store, asked).values["x"].tolist() == list(range(10))
    few = IDS[100:110]
    before = answer(store, few)
    assert store.compact(RECIPE.key) == (4, 1)
    same(answer(store, few), before)


@pytest.mark.parametrize("rows", [64, 10_000])
def test_a_merged_part_is_in_row_groups_and_says_the_same(store, monkeypatch, rows):
    monkeypatch.setattr(module, "GROUP_ROWS", rows)
    monkeypatch.setattr(module, "BATCH_ROWS", 50)
    before = answer(store, IDS)
    store.compact(RECIPE.key)
    (part,) = store._opened(RECIPE.key)
    assert sum(part.groups) == 580
    assert len(part.groups) == (1 if rows > 580 else 580 // 100 + 1)
    same(answer(store, IDS), before)
    monkeypatch.setattr(store_module, "FEW", 1)
    same(answer(store, IDS[5:9]), Store(store.root.parent).read(RECIPE, ["x", "v"], IDS[5:9]))


def test_places_may_name_too_much_but_never_too_little(store):
    places = Places()
    parts = store._opened(RECIPE.key)
    places.update(parts)
    places.update(parts)  # twice is once
    for part in parts:
        for ids in part.ids():
            for one in ids[::37]:
                assert part.path in places.of(np.array([one]))
    assert places.of(IDS[590:]) == {}


def test_a_store_travels_without_what_it_noted(store):
    answer(store, IDS)
    moved = pickle.loads(pickle.dumps(store))
    assert (moved._known, moved._places) == ({}, {})
    same(answer(moved, IDS), answer(store, IDS))


def test_a_part_that_is_damaged_inside_is_named(store):
    path = store._opened(RECIPE.key)[1].path
    data = bytearray(path.read_bytes())
    data[4:400] = b"\xff" * 396
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"part .* is damaged .* delete it and run again"):
        store.read(RECIPE, ["x"], IDS)


def test_parts_as_they_were_written_before_are_read(tmp_path):
    """Ids as strings, values as doubles with nulls, one row group: the layout on disk stands."""
    store = Store(tmp_path / "work")
    path = store.publish(RECIPE, IDS[:3], {"x": np.array([1.0, np.nan, 2.0])}, {1: "no"})
    schema = pq.read_schema(path)
    assert [str(field.type) for field in schema] == ["string", "double", "string", "bool"]
    assert schema.names == ["id", "x", "reason", "truncated"]
    assert pq.read_table(path).to_pylist()[1] == {
        "id": IDS[1].decode(), "x": None, "reason": "no", "truncated": False
    }  # fmt: skip
