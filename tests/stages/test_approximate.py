"""Past a size the pool is searched approximately: another recipe, and the recall is said."""

import json

import numpy as np
import pytest

import instructmine as im
from instructmine.recipes import Recipe
from pools import rows, write

RULE = {"rule": "knn6:higher"}


@pytest.fixture
def pool(tmp_path, monkeypatch):
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    return write(tmp_path / "pool.jsonl", rows(60))


def recipe_of(manifest):
    return manifest["indicators"]["knn"]["recipe"]


def test_a_larger_pool_has_another_recipe_and_says_its_recall(pool, tmp_path):
    exact = im.select(pool, size=9, **RULE)
    assert not exact.manifest["warnings"]
    assert exact.manifest["indicators"]["knn"]["facts"] == {}
    asked = {**RULE, "set": ["knn.exact_rows=59", "knn.recall=0.9"]}
    found = im.select(pool, size=9, out=tmp_path / "gold.jsonl", **asked)
    manifest = json.loads((tmp_path / "gold.manifest.json").read_text())
    told = manifest["indicators"]["knn"]["facts"]
    assert told["recall"] >= 0.9
    assert manifest["warnings"] == [
        f"knn: searched in clusters, recall {told['recall']:.3f} on 60 rows"
    ]
    pools = [recipe_of(one.manifest)["pool"] for one in (exact, found)]
    assert pools[1] == {"digest": pools[0], "search": "clusters", "recall": 0.9}
    # What was stored still says how it was computed.
    again = im.select(pool, size=9, **asked)
    assert again.manifest["indicators"]["knn"]["computed"] == 0
    assert again.manifest["warnings"] == found.manifest["warnings"]
    values = [one.decisions.column("knn6").to_numpy() for one in (exact, found)]
    assert (values[1] >= values[0] - 1e-9).all()
    assert np.mean(values[1] == values[0]) > 0.8


def test_the_size_that_decides_is_no_part_of_the_recipe(pool):
    keys = {
        im.select(pool, size=9, set=[f"knn.exact_rows={limit}"], **RULE).manifest["indicators"][
            "knn"
        ]["key"]
        for limit in (60, 61, 10**6)
    }
    assert len(keys) == 1


def test_recipes_without_a_search_are_what_they_were():
    fields = {"type": "Knn", "version": 1}
    assert Recipe.of("knn", fields, pool="ab").fields == {**fields, "pool": "ab"}
    other = Recipe.of("knn", fields, pool={"digest": "ab", "search": "clusters"})
    assert other.key != Recipe.of("knn", fields, pool="ab").key


@pytest.mark.parametrize(
    ("selector", "word"),
    [("kcenter", "drawn of 60 candidates"), ("facility-location", "recall 1.000")],
)
def test_a_selector_that_does_not_look_at_all_pairs_says_so(pool, selector, word):
    asked = {"selector": selector, "rule": "output_length:higher"}
    assert im.select(pool, size=9, **asked).manifest["warnings"] == []
    found = im.select(pool, size=9, set=[f"{selector}.exact_rows=30"], within=1.0, **asked)
    assert len(found.manifest["warnings"]) == 1
    assert word in found.manifest["warnings"][0]
    by_source = im.select(
        pool, size=9, set=[f"{selector}.exact_rows=30"], stratify="source", **asked
    )
    assert by_source.manifest["warnings"][0].startswith(f"{pool}: {selector}")


def test_score_says_it_too(pool, tmp_path):
    asked = {"indicators": ["knn6"], "set": ["knn.exact_rows=59"]}
    found = im.score(pool, out=tmp_path / "scores.parquet", **asked)
    assert len(found.manifest["warnings"]) == 1
    assert im.score(pool, indicators=["knn6"]).manifest["warnings"] == []
