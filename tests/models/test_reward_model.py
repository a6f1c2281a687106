"""Reward models: both layouts, equal to one text at a time whatever the padding."""

import json
import shutil

import numpy as np
import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.loading import quiet
from instructmine.models.reward import RewardModel, last_position, load_openassistant
from instructmine.models.spec import ModelSpec
from instructmine.pool import Message, Turn
from tiny_models import CHATML

TURNS = [
    Turn((Message("user", "What is the capital of France?"),), "Paris."),
    Turn((Message("user", "And rain?"),), "Warm air rises, cools down, and turns into drops."),
    Turn((Message("user", "List"), Message("assistant", "Yes."), Message("user", "On.")), "Pears"),
    Turn((Message("user", "A long question " * 6),), "No."),
]
CLASSIFIERS = [
    ("llama", {"template": CHATML, "causal": False}),
    ("llama", {"template": CHATML, "causal": False, "padding_side": "left"}),
    # Text that ends in the pad token: transformers reads the position before it.
    ("llama", {"template": CHATML + "</s>", "causal": False, "pad": "</s>"}),
    ("gpt2", {"causal": False}),
    ("bert_reward", {}),
    ("bert_reward", {"padding_side": "left"}),
]


def load(folder, **options):
    return RewardModel.load(ModelRef(str(folder)), context=Context(device="cpu"), **options)


def classifier_rewards(folder):
    """One text at a time, through transformers alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    rewards = []
    for turn in TURNS:
        messages = [{"role": m.role, "content": m.content} for m in turn.history]
        messages.append({"role": "assistant", "content": turn.response})
        ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            rewards.append(model(**ids).logits[0, 0].item())
    return np.array(rewards)


@pytest.mark.parametrize(("kind", "options"), CLASSIFIERS)
def test_classifiers_equal_transformers_one_by_one(tiny, kind, options):
    folder = tiny(kind, **options)
    wanted = classifier_rewards(folder)
    assert wanted.std() > 1e-3
    for budget in (1, 4096):
        found = load(folder, batch_tokens=budget).rewards(TURNS)
        np.testing.assert_allclose(found.values, wanted, atol=1e-5, rtol=0)
        assert not found.reasons and not found.truncated


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_openassistant_layout_is_read_as_specified(tiny, pooling):
    from safetensors.torch import load_file
    from transformers import GPTNeoXConfig, GPTNeoXModel, PreTrainedTokenizerFast

    folder = tiny("openassistant", pooling=pooling)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    trunk = GPTNeoXModel(GPTNeoXConfig(**{k: v for k, v in config.items() if k != "model_type"}))
    trunk.load_state_dict(
        {k.removeprefix("gpt_neox."): v for k, v in weights.items() if k.startswith("gpt_neox.")}
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    wanted = []
    for turn in TURNS:
        names = {"user": "<|prompter|>", "assistant": "<|assistant|>"}
        messages = [*turn.history, Message("assistant", turn.response)]
        text = "".join(f"{names[m.role]}{m.content}<|endoftext|>" for m in messages)
        with torch.no_grad():
            ids = tokenizer(text, return_tensors="pt").input_ids
            hidden = trunk.eval()(ids).last_hidden_state[0]
        pooled = hidden[-1] if pooling == "last" else hidden.mean(0)
        wanted.append((pooled @ weights["out_proj.weight"][0] + weights["out_proj.bias"]).item())
    for budget in (1, 4096):
        found = load(folder, batch_tokens=budget).rewards(TURNS)
        np.testing.assert_allclose(found.values, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_openassistant_pooling_ignores_the_padding_side(tiny, pooling):
    spec = ModelSpec.read(ModelRef(str(tiny("openassistant", pooling=pooling))))
    model = load_openassistant(spec, "float32", Context(device="cpu"))
    text = [5, 90, 33, 120, 7]
    right, left = [*text, 1, 1, 1], [1, 1, 1, *text]
    on, off = [1] * 5, [0] * 3
    with torch.no_grad():
        alone = model(torch.tensor([text]), torch.ones(1, 5, dtype=torch.long))
        padded = model(torch.tensor([right, left]), torch.tensor([on + off, off + on]))
    np.testing.assert_allclose(padded.numpy(), alone.repeat(2).numpy(), atol=1e-5)


def test_last_position_of_either_side():
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]])
    assert last_position(mask).tolist() == [1, 3, 3, 0]


def test_sharded_weights_are_read(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "sharded"
    shutil.copytree(tiny("openassistant"), folder)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    shards = {f"model-{i}.safetensors": dict(list(weights.items())[i::2]) for i in (0, 1)}
    for name, part in shards.items():
        save_file(part, folder / name)
    index = {"weight_map": {key: name for name, part in shards.items() for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    wanted = load(tiny("openassistant")).rewards(TURNS).values
    np.testing.assert_allclose(load(folder).rewards(TURNS).values, wanted, atol=1e-6)
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model-1\.safetensors"):
        load(folder)


def test_system_messages_open_the_prompters_turn(tiny):
    model = load(tiny("openassistant"))
    history = (Message("system", "Be kind."), Message("user", "hi"))
    text = model.renderer.turn(history, "Hello.")
    assert text.before == "<|prompter|>Be kind.\n\nhi<|endoftext|><|assistant|>"
    assert text.after == "<|endoftext|>"


def test_long_prompts_are_cut_and_the_response_stays(tiny):
    model = load(tiny("llama", template=CHATML, causal=False), max_length=40)
    long = Turn((Message("user", "word " * 200),), "The answer is Paris.")
    found = model.rewards([long, TURNS[0]])
    assert found.truncated == {0} and np.isfinite(found.values).all()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("llama", {"template": CHATML}, "is a LlamaForCausalLM, not a reward model; give a"),
        ("llama", {"causal": False}, r"no chat template.*add its chat_template\.jinja"),
        ("llama", {"template": CHATML, "causal": False, "labels": 2}, "gives 2 logits, not one"),
        ("openassistant", {"pooling": "first"}, "pools by 'first'; known are last and mean"),
        ("openassistant", {"bias": False}, r"lacks the weights out_proj\.bias"),
    ],
)
def test_unfit_folders_are_refused(tiny, kind, options, message):
    with pytest.raises(ModelError, match=message) as caught:
        load(tiny(kind, **options))
    assert "\n" not in str(caught.value)
