"""The paper profile from end to end, on tiny models that stand in a hub cache under its names."""

import shutil

import pytest

import instructmine as im
from instructmine.errors import ModelError, UsageError
from instructmine.modelref import _hub_snapshot
from pools import rows, write

MODELS = {
    "meta-llama/Llama-2-7b-hf": "llama",
    "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5": "openassistant",
    "MingZhong/unieval-dialog": "t5",
    "sentence-transformers/all-MiniLM-L6-v2": "sentence_bert",
}


@pytest.fixture
def hub(tiny, tmp_path, monkeypatch):
    """A hub cache as `huggingface_hub` lays it out, with tiny models of the same layouts."""
    revision = "c0ffee" * 6 + "beef"
    for name, kind in MODELS.items():
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        shutil.copytree(tiny(kind), repository / "snapshots" / revision)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("INSTRUCTMINE_WORKDIR", str(tmp_path / "work"))
    _hub_snapshot.cache_clear()
    yield tmp_path / "hub"
    _hub_snapshot.cache_clear()


@pytest.mark.parametrize("rule", [None, "instructmining-v1"])
def test_the_published_rules_accept_their_own_models(hub, tmp_path, rule):
    pool = write(tmp_path / "pool.jsonl", rows(12))
    chosen = im.select(pool, size=4, profile="paper", rule=rule)
    assert len(chosen) == 4
    assert chosen.manifest["rule"]["name"] == (rule or "instructmining-v2")
    assert chosen.manifest["warnings"] == []
    recipes = {name: one["recipe"] for name, one in chosen.manifest["indicators"].items()}
    assert recipes["reward"]["model"]["hub"] == "OpenAssistant/oasst-rm-2.1-pythia-1.4b-epoch-2.5"


def test_every_indicator_runs_under_the_paper_profile(hub, tmp_path):
    pool = write(tmp_path / "pool.jsonl", rows(12))
    result = im.score(pool, profile="paper")
    assert result.scores.table.column("errors").null_count == 12


def test_lengths_need_no_weights(hub, tmp_path):
    for weights in hub.glob("models--meta-llama*/snapshots/*/*.safetensors"):
        weights.unlink()
    pool = write(tmp_path / "pool.jsonl", rows(12))
    assert len(im.score(pool, profile="paper", indicators=["length"])) == 12


def test_another_revision_of_the_same_name_is_another_recipe(hub, tmp_path):
    pool = write(tmp_path / "pool.jsonl", rows(12))
    first = im.score(pool, profile="paper", indicators=["reward"])
    folder = next(hub.glob("models--OpenAssistant*"))
    (snapshot,) = (folder / "snapshots").iterdir()
    snapshot.rename(snapshot.with_name("d" * 40))
    (folder / "refs" / "main").write_text("d" * 40)
    _hub_snapshot.cache_clear()
    second = im.score(pool, profile="paper", indicators=["reward"])
    assert second.manifest["indicators"]["reward"]["computed"] == 12
    one, other = (done.scores.column("reward").tolist() for done in (first, second))
    assert one == other


def test_a_local_copy_is_not_taken_for_the_published_model(hub, tiny, tmp_path):
    pool = write(tmp_path / "pool.jsonl", rows(12))
    with pytest.raises(UsageError, match=r"fitted on other indicators .*reward: model\.hub"):
        im.select(pool, size=4, profile="paper", set=[f"reward.model={tiny('openassistant')}"])


def test_a_model_that_is_not_in_the_cache_is_one_line(hub, tmp_path):
    shutil.rmtree(next(hub.glob("models--MingZhong*")))
    pool = write(tmp_path / "pool.jsonl", rows(12))
    with pytest.raises(ModelError, match="hub model 'MingZhong/unieval-dialog' cannot be fetched"):
        im.select(pool, size=4, profile="paper")
