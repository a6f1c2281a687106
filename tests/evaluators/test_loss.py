"""Loss on references: equal to transformers', averaged over references and prompts."""

import json

import numpy as np
import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import UsageError
from instructmine.evals import EvalSet, SetLoss
from instructmine.evaluators.loss import Loss
from instructmine.modelref import ModelRef
from instructmine.models.loading import quiet
from instructmine.pool import Example, Message
from tiny_models import CHATML

CPU = Context(device="cpu", threads=1)
EXAMPLES = [
    Example.single("List three fruits.", "Apples, pears and plums."),
    Example.single("What is the capital of France?", "The capital of France is Paris."),
    Example.single("List three fruits.", "Red ball, dog, park."),
    Example((
        Message("user", "Hi"), Message("assistant", "Hello!"),
        Message("user", "Explain rain."), Message("assistant", "Warm air rises and cools."),
    )),
]  # fmt: skip


def test_references_of_one_prompt_are_gathered():
    one = EvalSet.of("e", EXAMPLES)
    assert [len(item.references) for item in one.items] == [2, 1, 1, 1]
    assert one.items[0].references == ("Apples, pears and plums.", "Red ball, dog, park.")
    assert len(one.items[3].history) == 3


def test_the_loss_is_transformers_own_per_reference(tiny):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny("llama", template=CHATML)
    one = EvalSet.of("e", EXAMPLES)
    (found,) = Loss().evaluate(ModelRef(str(folder)), [one], context=CPU)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    wanted = []
    for item in one.items:
        losses = []
        for reference in item.references:
            messages = [{"role": m.role, "content": m.content} for m in item.history]
            prompt = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            ids = tokenizer(prompt + reference, add_special_tokens=False)["input_ids"]
            start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
            labels = torch.tensor([ids])
            labels[0, :start] = -100
            with torch.no_grad():
                losses.append(float(model(torch.tensor([ids]), labels=labels).loss))
        wanted.append(np.mean(losses))
    assert found.losses == pytest.approx(wanted, abs=1e-5)
    assert found.loss == pytest.approx(np.mean(wanted), abs=1e-5)
    assert found.se == pytest.approx(np.std(wanted, ddof=1) / 2, abs=1e-5)


def test_several_sets_at_once_are_those_sets_singly(tiny):
    model = ModelRef(str(tiny("llama")))
    one, other = EvalSet.of("a", EXAMPLES[:2]), EvalSet.of("b", EXAMPLES[2:])
    both = Loss().evaluate(model, [one, other], context=CPU)
    assert both == tuple(Loss().evaluate(model, [s], context=CPU)[0] for s in (one, other))


def test_a_loss_round_trips_through_json():
    one = SetLoss((1.5, 0.1 + 0.2), (3, 4), 1)
    assert SetLoss.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_a_reference_the_template_refuses_names_its_row(tiny):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    model = ModelRef(str(tiny("llama", template=template + CHATML)))
    bad = Example.single("Hi", "Hello", system="Be brief.")
    one = EvalSet.of("e", [EXAMPLES[0], Example(bad.messages, source="e.jsonl", row=7)])
    with pytest.raises(UsageError, match=r"eval set 'e', e.jsonl:7: .*no system.*; mend or drop"):
        Loss().evaluate(model, [one], context=CPU)


def test_a_set_without_references_is_refused():
    with pytest.raises(UsageError, match="holds no prompt with a reference"):
        EvalSet.of("e", [Example((Message("user", "Hi"),))])


def test_the_digest_is_of_prompts_and_references_alone():
    one, other = EvalSet.of("a", EXAMPLES), EvalSet.of("b", EXAMPLES, ("file",))
    assert one.digest == other.digest
    assert one.digest != EvalSet.of("a", EXAMPLES[:3]).digest
