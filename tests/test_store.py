import json
import multiprocessing
import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine.errors import StoreError
from instructmine.recipes import Recipe, difference
from instructmine.store import Store


def ids(*numbers):
    return np.array([f"{number:032x}" for number in numbers], dtype="S32")


RECIPE = Recipe.of("toy", {"type": "Toy", "version": 1, "model": {"digest": "ab"}})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "work")


def test_what_was_published_is_read_back_in_any_order(store):
    store.publish(RECIPE, ids(1, 2, 3), {"x": np.array([1.0, np.nan, 3.0])}, {1: "empty"}, {2})
    found = store.read(RECIPE, ["x"], ids(3, 9, 2, 3))
    np.testing.assert_array_equal(found.values["x"], [3.0, np.nan, np.nan, 3.0])
    assert found.present.tolist() == [True, False, True, True]
    assert found.reasons == {2: "empty"}
    assert found.truncated.tolist() == [True, False, False, True]


def test_a_null_with_a_reason_is_not_missing(store):
    store.publish(RECIPE, ids(1), {"x": np.array([np.nan])}, {0: "empty"})
    assert store.missing(RECIPE, ["x"], ids(1, 2)).tolist() == [False, True]


def test_a_column_that_was_not_computed_is_missing(store):
    store.publish(RECIPE, ids(1, 2), {"x": np.array([1.0, 2.0])}, {})
    store.publish(RECIPE, ids(1), {"y": np.array([5.0])}, {})
    assert store.missing(RECIPE, ["x"], ids(1, 2)).tolist() == [False, False]
    assert store.missing(RECIPE, ["x", "y"], ids(1, 2)).tolist() == [False, True]
    assert store.read(RECIPE, ["y"], ids(1, 2)).present.tolist() == [True, False]


def test_another_recipe_shares_nothing(store):
    store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    other = Recipe.of("toy", {**RECIPE.fields, "version": 2})
    assert store.missing(other, ["x"], ids(1)).all()
    assert difference(RECIPE.fields, other.fields) == ["version: 1 → 2"]


def test_vectors_keep_their_bits(store):
    vectors = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    vectors[2] = np.nan
    store.publish(RECIPE, ids(1, 2, 3, 4), {"v": vectors}, {2: "no text"})
    found = store.read(RECIPE, ["v"], ids(4, 3, 1, 7)).values["v"]
    np.testing.assert_array_equal(found[[0, 2]], vectors[[3, 0]])
    assert np.isnan(found[[1, 3]]).all()


def test_the_first_of_two_parts_for_one_example_counts_also_after_compaction(store):
    store.publish(RECIPE, ids(1, 2), {"x": np.array([1.0, 2.0])}, {}, seconds=1.5)
    store.publish(RECIPE, ids(2, 3), {"x": np.array([2.5, 3.0])}, {}, seconds=0.5)
    before = store.read(RECIPE, ["x"], ids(1, 2, 3)).values["x"]
    assert store.compact(RECIPE.key) == (2, 1)
    np.testing.assert_array_equal(before, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(store.read(RECIPE, ["x"], ids(1, 2, 3)).values["x"], before)
    (stored,) = store.recipes()
    assert (stored.rows, stored.parts, stored.seconds) == (3, 1, 2.0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True), max_size=5))
def test_compaction_changes_no_answer(tmp_path_factory, batches):
    store = Store(tmp_path_factory.mktemp("store"))
    for turn, batch in enumerate(batches):
        store.publish(RECIPE, ids(*batch), {"x": np.array([b + turn / 10 for b in batch])}, {})
    asked = ids(*range(10))
    before = store.read(RECIPE, ["x"], asked).values["x"]
    if batches:
        store.compact(RECIPE.key)
    np.testing.assert_array_equal(store.read(RECIPE, ["x"], asked).values["x"], before)


def test_an_unfinished_part_is_never_read_and_an_old_one_is_swept(store):
    part = store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    left = part.with_name(f".{part.name}.aa.tmp")
    left.write_bytes(b"half")
    assert store.read(RECIPE, ["x"], ids(1)).values["x"].tolist() == [1.0]
    store.compact(RECIPE.key)
    assert left.exists()  # it may belong to a process that is writing now
    os.utime(left, (time.time() - 1e6,) * 2)
    store.compact(RECIPE.key)
    assert not left.exists()


def test_a_damaged_part_is_named(store):
    part = store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    part.write_bytes(b"not parquet")
    with pytest.raises(StoreError, match=r"part .* is damaged .* delete it and run again"):
        store.read(RECIPE, ["x"], ids(1))


def _publish_many(root, start):
    store = Store(root)
    for number in range(start, start + 20):
        store.publish(RECIPE, ids(number), {"x": np.array([float(number)])}, {})


def test_two_processes_and_a_compaction_lose_nothing(store):
    context = multiprocessing.get_context("spawn")
    root = store.root.parent
    workers = [context.Process(target=_publish_many, args=(root, s)) for s in (0, 10)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if (store.root / RECIPE.key / "recipe.json").exists():
            store.compact(RECIPE.key)
            store.read(RECIPE, ["x"], ids(0))
        time.sleep(0.05)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = store.read(RECIPE, ["x"], ids(*range(30)))
    np.testing.assert_array_equal(found.values["x"], np.arange(30.0))


def test_a_second_compaction_waits_its_turn(store):
    store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    with store._lock(RECIPE.key), pytest.raises(StoreError, match="another process is compacting"):
        store.compact(RECIPE.key)


def test_a_read_only_work_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use work folder .* give --workdir another one"):
        Store(tmp_path / "file" / "work")


def test_prune_frees_and_forgets(store):
    store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    assert store.prune([RECIPE.key]) > 0
    assert list(store.recipes()) == []
    assert store.missing(RECIPE, ["x"], ids(1)).all()


def test_the_recipe_on_disk_is_readable_json(store):
    store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    stated = json.loads((store.root / RECIPE.key / "recipe.json").read_text())
    assert stated == {"indicator": "toy", "fields": RECIPE.fields}
    (stored,) = store.recipes()
    assert stored.recipe == RECIPE
    assert store.ids_beginning("0" * 31)[f"{1:032x}"][RECIPE.key]["x"] == 1.0
