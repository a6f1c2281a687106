"""Sentence encoders: equal to the sentence-transformers library, of unit length."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.encoder import MeanPooling, SentencePooling, load_encoder
from instructmine.models.loading import quiet
from instructmine.models.spec import ModelSpec
from instructmine.models.static import StaticEncoder

PAIRS = [
    ("What is the capital of France?\n", "The capital of France is Paris."),
    ("Question?\n", "No."),
    ("", "Apples, pears and plums are fruits that grow on trees."),
    ("Explain how rain forms.\n", "Warm air rises."),
]
TEXTS = [prompt + response for prompt, response in PAIRS]


def load(folder, **options):
    spec = ModelSpec.read(ModelRef(str(folder)))
    options.setdefault("max_length", spec.encoder_length(None))
    if spec.is_static_encoder:
        return StaticEncoder(spec, options["max_length"])
    return load_encoder(spec, context=Context(device="cpu"), **options)


def library(folder):
    with quiet():
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(folder), device="cpu", model_kwargs={"dtype": torch.float32}
        ).encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sentence_bert", {}), ("sentence_bert", {"dense": False}), ("bert", {}), ("static", {}),
        ("sentence_bert", {"dense": False, "pooling": "cls"}),
        ("sentence_bert", {"dense": False, "prompt": "Explain: "}), ("static", {"model2vec": True}),
    ],
)  # fmt: skip
def test_equals_the_library(tiny, kind, options):
    folder = tiny(kind, **options)
    wanted = library(folder)
    vectors, reasons, cut = load(folder).encode(PAIRS)
    assert vectors.dtype == np.float32 and not reasons and not cut
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_the_commonest_layout_does_without_the_library_and_its_imports(tiny):
    kind = type(load(tiny("sentence_bert", dense=False)).model)
    assert kind is type(load("src/instructmine/assets/starter/encoder").model) is MeanPooling
    others = ({}, {"dense": False, "pooling": "cls"}, {"dense": False, "prompt": "Explain: "})
    for options in others:
        assert type(load(tiny("sentence_bert", **options)).model) is SentencePooling


def test_a_layout_with_weights_missing_is_refused_but_for_the_unread_pooler(tiny, tmp_path):
    folder = tmp_path / "encoder"
    shutil.copytree(tiny("sentence_bert", dense=False), folder)
    weights = load_file(folder / "model.safetensors")
    rest = {name: one for name, one in weights.items() if not name.startswith("pooler.")}
    assert len(rest) < len(weights)
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    wanted = load(tiny("sentence_bert", dense=False)).encode(PAIRS)[0]
    np.testing.assert_array_equal(load(folder).encode(PAIRS)[0], wanted)
    del rest["embeddings.word_embeddings.weight"]
    save_file(rest, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks the weights embeddings\.word_embeddings"):
        load(folder)


@pytest.mark.parametrize("kind", ["sentence_bert", "llama", "gpt2"])
def test_batches_change_nothing(tiny, kind):
    alone = np.vstack([load(tiny(kind)).encode([pair])[0] for pair in PAIRS])
    for budget in (1, 30, 4096):
        vectors, _, _ = load(tiny(kind), batch_tokens=budget).encode(PAIRS[::-1])
        np.testing.assert_allclose(vectors[::-1], alone, atol=1e-5)


def test_causal_lm_pools_by_position(tiny):
    from transformers import AutoModel, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
        trunk = AutoModel.from_pretrained(tiny("llama")).eval()
    ids = tokenizer(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = trunk(ids).last_hidden_state[0]
    weights = torch.arange(1, len(hidden) + 1)[:, None]
    wanted = (hidden * weights).sum(0) / weights.sum()
    vectors, _, _ = load(tiny("llama")).encode(PAIRS)
    np.testing.assert_allclose(vectors[0], wanted / wanted.norm(), atol=1e-5)


@pytest.mark.parametrize("kind", ["sentence_bert", "llama", "static"])
def test_long_texts_lose_their_prompt_first(tiny, kind):
    encoder = load(tiny(kind), max_length=20)
    long = ("rain " * 100, "The dog takes it home.")
    vectors, _, cut = encoder.encode([long, ("rain " * 300, long[1]), PAIRS[1]])
    assert cut == {0, 1}
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_the_librarys_own_limit_is_the_default(tiny):
    spec = ModelSpec.read(ModelRef(str(tiny("sentence_bert"))))
    assert spec.encoder_length(None) == 48 and spec.encoder_length(60) == 60
    assert ModelSpec.read(ModelRef(str(tiny("static")))).encoder_length(None) is None


def test_foreign_modules_are_never_run(tiny, tmp_path):
    folder = tmp_path / "foreign"
    shutil.copytree(tiny("sentence_bert"), folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "custom.Pooling"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match=r"the code 'custom\.Pooling', which is not run"):
        load(folder)


def test_unreadable_folders_are_one_line_errors(tiny, tmp_path):
    folder = tmp_path / "wordless"
    shutil.copytree(tiny("static"), folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="cannot be loaded as a static encoder"):
        load(folder)
    (folder / "modules.json").write_text("{")
    with pytest.raises(ModelError, match=r"modules\.json cannot be read"):
        load(folder)


def test_the_papers_encoder(shared_models):
    wanted = library(shared_models / "all-MiniLM-L6-v2")
    vectors, _, _ = load(shared_models / "all-MiniLM-L6-v2").encode(PAIRS)
    np.testing.assert_allclose(vectors, wanted, atol=1e-5)


def test_a_quantised_static_encoder(shared_models):
    vectors, reasons, _ = load(shared_models / "model2vec-bge-base-128").encode(PAIRS)
    assert vectors.shape == (4, 128) and not reasons
    same = load(shared_models / "model2vec-bge-base-128").encode([("", TEXTS[0])])[0]
    np.testing.assert_allclose(same[0], vectors[0], atol=1e-7)
