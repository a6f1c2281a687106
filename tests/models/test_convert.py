import shutil

import pytest
import torch

from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.convert import convert
from instructmine.models.seq2seq import YesNoModel


def pickled(tiny, tmp_path):
    """A T5 as some hubs have it: with pickled weights only."""
    from safetensors.torch import load_file

    folder = shutil.copytree(tiny("t5"), tmp_path / "pickled")
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_a_converted_model_is_the_same_model(tiny, tmp_path):
    folder = pickled(tiny, tmp_path)
    with pytest.raises(ModelError, match=r"instructmine\.models\.convert"):
        YesNoModel.load(ModelRef(str(folder)))
    out = convert(folder, tmp_path / "out")
    ours, theirs = (YesNoModel.load(ModelRef(str(f))).model.state_dict() for f in (out, tiny("t5")))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    modes = {path.stat().st_mode for path in (*out.glob("*.safetensors"), *folder.glob("*.bin"))}
    assert len(modes) == 1  # whoever could read the one can read the other


class Hostile:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_a_pickle_that_holds_code_is_refused(tiny, tmp_path, capsys):
    folder = pickled(tiny, tmp_path)
    torch.save({"x": Hostile()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="holds more than tensors"):
        convert(folder, tmp_path / "out")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "out").exists()


def test_nothing_to_convert(tmp_path):
    with pytest.raises(ModelError, match=r"holds no pytorch_model\*\.bin"):
        convert(tmp_path, tmp_path / "out")
