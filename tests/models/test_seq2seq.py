"""UniEval's questions: equal to the full decoder step with all logits."""

import numpy as np
import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.loading import quiet
from instructmine.models.seq2seq import YesNoModel
from instructmine.models.templates import Rendered

ASK = "question: Is this a coherent response given the dialogue history? </s> response: "
TEXTS = [
    Rendered(ASK, "The capital of France is Paris.", " </s> dialogue history: What is it?\nTell!"),
    Rendered(ASK, "No.", ""),
    Rendered(ASK, "Warm air rises and cools down. " * 5, " </s> dialogue history: rain?"),
]


def load(folder, **options):
    return YesNoModel.load(ModelRef(str(folder)), context=Context(device="cpu"), **options)


@pytest.mark.parametrize("tied", [True, False])
def test_equals_the_full_softmax_one_by_one(tiny, tied):
    """As UniEval's scorer computes it: softmax over the vocabulary, first decoder step."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    folder = tiny("t5", tied=tied)
    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    yes, no = (tokenizer(word)["input_ids"][0] for word in ("Yes", "No"))
    wanted = []
    for text in TEXTS:
        source = tokenizer(text.before + text.response + text.after, return_tensors="pt")
        with torch.no_grad():
            logits = model(**source, decoder_input_ids=torch.tensor([[0]])).logits[0, 0]
        shares = logits.softmax(0)
        wanted.append((shares[yes] / (shares[yes] + shares[no])).item())
    assert np.std(wanted) > 1e-4
    for budget in (1, 4096):
        found = load(folder, batch_tokens=budget).answers(TEXTS)
        np.testing.assert_allclose(found.values, wanted, atol=1e-5, rtol=0)


def test_separators_become_end_tokens(tiny):
    model = load(tiny("t5"))
    (span,) = model.encoder.spans(TEXTS[:1], special=True)
    end = model.encoder._backend.token_to_id("</s>")
    assert span.ids.count(end) == 3 and span.ids[-1] == end


def test_a_long_history_is_cut_from_its_left(tiny):
    model = load(tiny("t5"), max_length=80)
    history = " </s> dialogue history: first " + "rain " * 200 + "last"
    (span,) = model.encoder.spans([Rendered(ASK, "Yes, it is.", history)], special=True)
    cut = model._fit(span)
    assert cut.cut and len(cut) == 80
    assert cut.ids[: cut.end] == span.ids[: span.end]  # question and response are whole
    assert cut.ids[cut.end :] == span.ids[cut.end - 80 :]  # and the history's end


def test_a_long_response_loses_its_end(tiny):
    model = load(tiny("t5"), max_length=64)
    text = Rendered(ASK, "Yes, it is. " * 60, "")
    (span,) = model.encoder.spans([text], special=True)
    cut = model._fit(span)
    assert cut.ids[:-1] == span.ids[:63] and cut.ids[-1] == span.ids[-1]
    found = model.answers([text, TEXTS[1]])
    assert found.truncated == {0} and np.isfinite(found.values).all()


def test_unfit_folders_are_refused(tiny):
    with pytest.raises(ModelError, match="is a llama, and UniEval's questions go to a T5"):
        load(tiny("llama"))
    with pytest.raises(ModelError, match="no tokens that tell Yes from No"):
        load(tiny("truncated_vocabulary"))
