import shutil

import pytest

from instructmine.errors import ModelError
from instructmine.modelref import ModelRef, folder_digest


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_a_model_is_its_files_wherever_they_lie(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "elsewhere")
    (copy / "README.md").write_text("a card changes no number")
    assert ModelRef(str(copy)).identity() == ModelRef(str(model)).identity()
    (copy / "model.safetensors").write_bytes(b"weightz")
    assert ModelRef(str(copy)).identity() != ModelRef(str(model)).identity()


def test_a_renamed_file_is_another_model(model):
    before = folder_digest(model)
    (model / "config.json").rename(model / "other.json")
    assert folder_digest(model) != before


def test_a_folder_that_is_no_model_says_so(tmp_path):
    with pytest.raises(ModelError, match=r"has no config\.json; give a model's own folder"):
        ModelRef(str(tmp_path)).folder()
    with pytest.raises(ModelError, match="does not exist; give a folder or a hub id"):
        ModelRef(str(tmp_path / "gone")).folder()
    with pytest.raises(ModelError, match="starter model 'starter:rewards' does not exist"):
        ModelRef("starter:rewards").folder()


def test_a_cached_hub_model_is_its_revision(tmp_path, monkeypatch):
    revision = "a" * 40
    cache = tmp_path / "models--me--mine"
    snapshot = cache / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert ModelRef("me/mine").identity() == {"hub": "me/mine", "revision": revision}
    assert ModelRef(f"me/mine@{revision}").identity()["revision"] == revision


def test_a_hub_model_without_network_is_one_line():
    with pytest.raises(ModelError, match="hub model 'nobody/nothing' cannot be fetched") as caught:
        ModelRef("nobody/nothing").folder()
    assert "\n" not in str(caught.value)
