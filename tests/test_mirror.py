"""A store at a URL: what one machine writes the others read, and what goes there goes here."""

import shutil

import fsspec
import numpy as np
import pytest

import instructmine as im
from instructmine.errors import StoreError
from instructmine.mirror import Mirror
from instructmine.recipes import Recipe
from instructmine.store import Store
from pools import rows, write

URL = "memory://bucket/team"
RECIPE = Recipe.of("toy", {"type": "Toy", "version": 1})


def ids(*numbers):
    return np.array([f"{number:032x}" for number in numbers], dtype="S32")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a way to become another machine: one with a cache folder of its own."""
    system = fsspec.filesystem("memory")
    system.store.clear()

    def become(name):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        return Store(URL)

    yield become
    system.store.clear()


def test_one_machine_reads_what_another_wrote(machine):
    machine("one").publish(RECIPE, ids(1, 2), {"x": np.array([1.0, np.nan])}, {1: "empty"})
    found = machine("two").read(RECIPE, ["x"], ids(2, 1, 3))
    np.testing.assert_array_equal(found.values["x"], [np.nan, 1.0, np.nan])
    assert found.present.tolist() == [True, True, False] and found.reasons == {0: "empty"}


def test_what_is_written_later_is_seen(machine):
    one, two = machine("one"), machine("two")
    one.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    assert two.missing(RECIPE, ["x"], ids(1, 2)).tolist() == [False, True]
    one.publish(RECIPE, ids(2), {"x": np.array([2.0])}, {})
    assert not two.missing(RECIPE, ["x"], ids(1, 2)).any()


def test_copies_are_fetched_once_and_may_be_lost(machine, monkeypatch):
    one, two = machine("one"), machine("two")
    one.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    two.read(RECIPE, ["x"], ids(1))
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", None)
    assert two.read(RECIPE, ["x"], ids(1)).values["x"].tolist() == [1.0]
    monkeypatch.undo()
    shutil.rmtree(two.root)
    assert two.read(RECIPE, ["x"], ids(1)).values["x"].tolist() == [1.0]


def test_compacting_and_pruning_reach_the_other_machines(machine):
    one, two = machine("one"), machine("two")
    for number in (1, 2, 3):
        one.publish(RECIPE, ids(number), {"x": np.array([float(number)])}, {})
    assert two.read(RECIPE, ["x"], ids(1, 2, 3)).values["x"].tolist() == [1, 2, 3]
    assert one.compact(RECIPE.key) == (3, 1)
    assert [stored.parts for stored in two.recipes()] == [1]
    assert two.read(RECIPE, ["x"], ids(1, 2, 3)).values["x"].tolist() == [1, 2, 3]
    two.prune([RECIPE.key])
    assert list(one.recipes()) == []
    assert one.missing(RECIPE, ["x"], ids(1)).all()


def test_what_could_not_be_put_there_does_not_count_here(machine, monkeypatch):
    store = machine("one")

    def refuse(*_args, **_more):
        raise PermissionError("no")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "put_file", refuse)
    with pytest.raises(StoreError, match="cannot use the store memory://bucket/team: no; install"):
        store.publish(RECIPE, ids(1), {"x": np.array([1.0])}, {})
    monkeypatch.undo()
    assert store.missing(RECIPE, ["x"], ids(1)).all()
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_an_unknown_protocol_says_so_in_one_line(tmp_path):
    with pytest.raises(StoreError, match="cannot use the store nowhere://x: .*; install") as raised:
        Mirror("nowhere://x").folders("scores")
    assert "\n" not in str(raised.value)


def test_select_with_a_work_folder_at_a_url(machine, tmp_path):
    pool = write(tmp_path / "pool.jsonl", rows(30))
    options = {"size": 5, "rule": "mtld:higher", "workdir": URL, "threads": 1}
    machine("one")
    first = im.select(pool, **options)
    machine("two")
    again = im.select(pool, **options)
    assert again.decisions.equals(first.decisions)
    assert again.manifest["indicators"]["mtld"]["computed"] == 0
    assert again.manifest["arguments"]["workdir"] == URL
