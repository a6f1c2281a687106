"""Binary classifiers: learn a simple rule, repeatable, independent of the batch."""

import shutil

import numpy as np
import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.classifier import Classifier, Training, train_classifier

CPU = Context("cpu", 1)
THINGS = ["river", "stone", "bread", "window", "garden", "engine", "letter", "winter"]


def material(n=160):
    texts = [
        f"Explain how a {THINGS[i % 8]} works." if i % 3 else f"Translate '{THINGS[i % 8]}' now."
        for i in range(n)
    ]
    return texts, [bool(i % 3) for i in range(n)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "model"
    texts, labels = material()
    base = ModelRef("starter:encoder")
    train_classifier(base, texts, labels, Training(epochs=3), seed=1, folder=folder, context=CPU)
    return folder


def test_it_learns_what_is_easy(trained):
    found, reasons, cut = Classifier.load(ModelRef(str(trained)), context=CPU).probabilities(
        ["Explain how a castle works.", "Translate 'castle' now."]
    )
    assert found[0] > 0.7 and found[1] < 0.3 and not reasons and not cut


def test_it_is_the_models_softmax_whatever_the_batch(trained):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = [text for text in material(9)[0]] + ["Explain. " * 40]
    classifier = Classifier.load(ModelRef(str(trained)), context=CPU)
    found, _, _ = classifier.probabilities(texts)
    model = AutoModelForSequenceClassification.from_pretrained(trained, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained)
    for text, probability in zip(texts, found, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        assert probability == pytest.approx(float(logits.softmax(0)[1]), abs=1e-5)
    alone = [classifier.probabilities([text])[0][0] for text in texts]
    assert np.allclose(found, alone, atol=1e-6)


def test_the_same_seed_gives_the_same_weights(trained, tmp_path):
    texts, labels = material()
    base = ModelRef("starter:encoder")
    again = tmp_path / "again"
    train_classifier(base, texts, labels, Training(epochs=3), seed=1, folder=again, context=CPU)
    first, second = (
        Classifier.load(ModelRef(str(one)), context=CPU).probabilities(texts[:20])[0]
        for one in (trained, again)
    )
    assert first.tolist() == second.tolist()


def test_balanced_labels_weigh_alike(tmp_path):
    texts, _ = material(90)
    labels = [i % 9 == 0 for i in range(90)]  # says nothing about the text
    base = ModelRef("starter:encoder")
    means = []
    for balanced in (False, True):
        folder = tmp_path / str(balanced)
        options = Training(epochs=1, balanced=balanced)
        train_classifier(base, texts, labels, options, seed=0, folder=folder, context=CPU)
        found, _, _ = Classifier.load(ModelRef(str(folder)), context=CPU).probabilities(texts)
        means.append(found.mean())
    assert means[0] < means[1]


def test_what_is_no_encoder_or_no_classifier_is_refused(trained, tmp_path):
    with pytest.raises(ModelError, match="it is no encoder"):
        train_classifier(
            ModelRef("starter:unieval"), ["a"], [True], Training(), seed=0,
            folder=tmp_path / "x", context=CPU,
        )  # fmt: skip
    with pytest.raises(ModelError, match="classes apart|lacks the weights"):
        Classifier.load(ModelRef("starter:reward"), context=CPU)


def test_a_folder_without_a_tokenizer_is_refused(trained, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(trained, folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="has no tokenizer"):
        Classifier.load(ModelRef(str(folder)), context=CPU)
