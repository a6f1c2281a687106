"""Every command that runs jobs gives on Ray what it gives here."""

import numpy as np
import pytest

import instructmine as im
from instructmine import plugins
from pools import rows, write
from tiny_models import CHATML

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def ray(cluster):
    return {"engine": "ray", "workers": 2, "ray_address": cluster.address}


@pytest.fixture
def pool(tmp_path):
    return write(tmp_path / "pool.jsonl", rows(40))


@pytest.fixture
def training(tiny, pool, tmp_path):
    """Options of a command that trains, and a work folder by name."""
    made = [
        {"prompt": f"Which colour has number {n} on the old wheel?", "response": word}
        for n, word in enumerate(["Blue as the sea.", "Red.", "Green like grass."])
    ]
    evaluation = write(tmp_path / "eval.jsonl", made)
    base = str(tiny("llama", template=CHATML))

    def options(workdir, **more):
        usual = ["sft.batch_size=8", "sft.epochs=1", "sft.precision=float32"]
        return {
            "pool": pool, "base_model": base, "eval": evaluation, "seed": 3, "threads": 1,
            "device": "cpu", "set": [*usual, *more.pop("set", [])],
            "workdir": tmp_path / workdir, **more,
        }  # fmt: skip

    return options


def test_every_indicator_gives_the_same(ray, pool, tiny, tmp_path):
    target = write(tmp_path / "target.jsonl", rows(3, start=100))
    model = tiny("bert_classifier")
    options = {
        "indicators": list(plugins.names("indicators")), "target": target, "device": "cpu",
        "set": [f"hardness.model={model}"], "threads": 1,
    }  # fmt: skip
    here = im.score(pool, workdir=tmp_path / "here", **options).scores
    there = im.score(pool, workdir=tmp_path / "there", **options, **ray).scores
    assert here.table.column_names == there.table.column_names
    assert len(here.indicators) >= 12
    for name in ("source", "row", "id", "errors"):
        assert here.table.column(name).equals(there.table.column(name))
    for name in here.indicators:
        np.testing.assert_allclose(there.column(name), here.column(name), rtol=1e-4, atol=1e-5)


def test_the_selection_is_the_same(ray, pool, tmp_path):
    options = {"size": 10, "rule": "mtld:higher", "selector": "kcenter", "device": "cpu"}
    here = im.select(pool, workdir=tmp_path / "here", **options)
    there = im.select(pool, workdir=tmp_path / "there", **options, **ray)
    for name in ("id", "rank", "selected", "reason"):
        assert here.decisions.column(name).equals(there.decisions.column(name)), name


def test_trials_give_the_same_table(ray, training):
    options = {"count": 3, "size": 10, "indicators": ["length"]}
    here = im.trials(**training("here", **options)).trials
    there = im.trials(**training("there", **options, **ray)).trials
    kept = [name for name in here.table.column_names if name != "seconds"]
    assert there.table.select(kept).equals(here.table.select(kept))


def test_search_finds_the_same_and_the_trainings_of_the_other_engine(ray, training, tmp_path):
    options = {
        "searcher": "blend", "minimum": 8, "maximum": 32, "max_trials": 3,
        "rule": "output_length:higher",
    }  # fmt: skip

    def found(workdir, **more):
        summary = im.search(**training(workdir, **options, **more)).summary
        return {**summary, "cost": {**summary["cost"], "seconds": None}}

    there = found("there", **ray)
    trained = sorted((tmp_path / "there" / "trials").rglob("*.json"))
    assert there == found("here") == found("there")
    assert trained and trained == sorted((tmp_path / "there" / "trials").rglob("*.json"))


def test_compare_gives_the_same_table(ray, training):
    options = {"strategies": ["longest"], "size": 8, "seeds": 2}
    there = im.compare(**training("there", **options, **ray)).table
    here = im.compare(**training("here", **options)).table
    kept = [name for name in here.column_names if not name.endswith("_seconds")]
    assert there.select(kept).equals(here.select(kept))


def test_iterate_takes_the_same(ray, tmp_path):
    made = rows(40)
    for row in made[::2]:  # rubbish, so that the base model's answer may win
        row["output"] = "no no no no"
    pool = write(tmp_path / "pool.jsonl", made)
    options = {
        "base_model": "starter", "size": 10, "batch": 0.2, "holdout": 4, "clusters": 3,
        "draw": 0.5, "rounds": 1, "most_rounds": 1, "epochs": 1, "max_new_tokens": 8,
        "threads": 1, "device": "cpu",
    }  # fmt: skip
    here = im.iterate(pool, workdir=tmp_path / "here", **options)
    there = im.iterate(pool, workdir=tmp_path / "there", **options, **ray)
    for name in ("id", "rank", "selected", "label"):
        assert here.decisions.column(name).equals(there.decisions.column(name)), name


def test_an_address_without_ray_is_refused(pool, tmp_path):
    with pytest.raises(im.errors.UsageError, match="--ray-address is for --engine ray"):
        im.score(pool, workdir=tmp_path, ray_address="auto")
