"""Losses of responses: equal to a plain forward pass, whatever the batches."""

import json
import shutil

import numpy as np
import pytest
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.causal_lm import CausalLM
from instructmine.models.loading import quiet
from instructmine.pool import Message, Turn
from tiny_models import CHATML

WORDS = [
    "the",
    "dog",
    "finds",
    "a",
    "red",
    "ball",
    "in",
    "the",
    "park",
    "and",
    "takes",
    "it",
    "home,",
    "café",
    "12345",
]
KINDS = [
    ("llama", {}),
    ("llama", {"template": CHATML}),
    ("gpt2", {}),
    ("no_bos", {}),
    ("gemma2", {}),
    ("opt", {}),
    ("bloom", {}),
]


def turns(count=14, longest=40):
    rng = np.random.default_rng(3)
    made = []
    for index in range(count):
        words = [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(3)]
        history = (Message("user", words[0]),)
        if index % 3 == 0:
            history = (*history, Message("assistant", "Yes."), Message("user", words[1]))
        made.append(Turn(history, words[2]))
    return made


def reference(folder, turn):
    """Loss with and without the prompt by transformers' own loss, one text, no padding."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
    messages = [{"role": m.role, "content": m.content} for m in turn.history]
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if tokenizer.chat_template:
        prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ahead = []
    else:
        heads = {"user": "### Instruction:\n", "assistant": "### Response:\n"}
        prompt = "\n\n".join(heads[m["role"]] + m["content"] for m in messages)
        prompt, ahead = prompt + "\n\n### Response:\n", [start]
    whole = tokenizer(prompt + turn.response, return_offsets_mapping=True, add_special_tokens=False)
    inside = [stop > len(prompt) for _, stop in whole["offset_mapping"]]
    response = [i for i, keep in zip(whole["input_ids"], inside, strict=True) if keep]
    before = ahead + [i for i, keep in zip(whole["input_ids"], inside, strict=True) if not keep]
    losses = []
    for context in (before, [start]):
        ids = torch.tensor([context + response])
        labels = ids.clone()
        labels[:, : len(context)] = -100
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=labels).loss.item())
    return losses


def load(folder, **options):
    return CausalLM.load(ModelRef(str(folder)), context=Context(device="cpu"), **options)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_equals_a_plain_forward_pass_per_example(tiny, kind, options):
    folder = tiny(kind, **options)
    wanted = np.array([reference(folder, turn) for turn in turns()])
    found = load(folder).response_loss(turns(), conditioned=True, unconditioned=True)
    assert not found.reasons
    np.testing.assert_allclose(found.conditioned, wanted[:, 0], atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.unconditioned, wanted[:, 1], atol=1e-5, rtol=0)
    assert wanted.std(axis=0).min() > 1e-3  # the texts do differ


@pytest.mark.parametrize("budget", [1, 64, 4096])
def test_batches_and_order_change_nothing(tiny, budget):
    folder, chosen = tiny("gpt2"), turns()
    alone = np.array([load(folder).response_loss([turn]).conditioned[0] for turn in chosen])
    order = np.random.default_rng(0).permutation(len(chosen))
    model = load(folder, batch_tokens=budget)
    found = model.response_loss([chosen[i] for i in order]).conditioned
    np.testing.assert_allclose(found, alone[order], atol=1e-6, rtol=0)


def test_batches_side_by_side_change_nothing(tiny):
    texts = turns()
    alone = load(tiny("llama"), batch_tokens=64)
    crew = load(tiny("llama"), batch_tokens=64)
    alone.runner.workers, crew.runner.workers = 1, 4
    one, other = (model.response_loss(texts, unconditioned=True) for model in (alone, crew))
    np.testing.assert_allclose(other.conditioned, one.conditioned, atol=1e-6)
    np.testing.assert_allclose(other.unconditioned, one.unconditioned, atol=1e-6)


def test_only_the_asked_pass_runs(tiny):
    model = load(tiny("llama"))
    found = model.response_loss(turns(3), conditioned=False, unconditioned=True)
    assert np.isnan(found.conditioned).all() and np.isfinite(found.unconditioned).all()
    assert model.runner.real_tokens == found.tokens.sum() + 3


def test_both_passes_read_the_same_response_tokens(tiny):
    model = load(tiny("llama"))
    for turn in turns():
        (span,), _ = model.spans([turn])
        text = model.renderer.turn(turn.history, turn.response)
        backend = model.encoder._backend
        whole = backend.encode(text.before + text.response, add_special_tokens=False).ids
        assert span.ids[1:] == whole and span.ids[0] == model.start
        assert span.ids[span.end :] == []


def test_a_long_prompt_is_cut_from_its_left(tiny):
    turn = Turn((Message("user", "first " + "word " * 600 + "last"),), "It takes the ball home.")
    model = load(tiny("llama"))
    (span,), _ = model.spans([turn])
    assert span.cut and len(span) == 512 and span.ids[0] == model.start
    backend = model.encoder._backend
    assert backend.decode(span.response) == turn.response
    kept = backend.decode(span.ids[1 : span.start])
    assert "first" not in kept
    assert kept.endswith("word last\n\n### Response:\n")
    short = load(tiny("llama"), max_length=32).response_loss([turn])
    assert short.truncated == {0} and np.isfinite(short.conditioned[0])
    assert short.tokens[0] == len(span.response)


def test_a_long_response_loses_its_end(tiny):
    turn = Turn((Message("user", "hello"),), "One two three. " * 100)
    model = load(tiny("llama"), max_length=20)
    (span,), _ = model.spans([turn])
    assert span.cut and len(span) == 20 and span.start == 1
    assert model.encoder._backend.decode(span.response).startswith("One two three.")
    assert np.isfinite(model.response_loss([turn], unconditioned=True).unconditioned[0])


def test_short_texts_are_not_cut(tiny):
    assert not load(tiny("llama")).response_loss(turns()).truncated


def test_bfloat16_stays_near(tiny):
    exact = load(tiny("llama")).response_loss(turns()).conditioned
    half = load(tiny("llama"), dtype="bfloat16").response_loss(turns()).conditioned
    np.testing.assert_allclose(half, exact, rtol=0.05)


def test_nan_outputs_are_null_with_a_reason(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "broken"
    shutil.copytree(tiny("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][7] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = load(folder).response_loss(turns(2))
    assert np.isnan(found.conditioned).all()
    assert found.reasons[0] == "the model's output is not a number"


def test_a_refused_conversation_has_a_reason(tiny, tmp_path):
    folder = tmp_path / "picky"
    shutil.copytree(tiny("llama"), folder)
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    system = Turn((Message("system", "Be kind."), Message("user", "hi")), "Hello.")
    found = load(folder).response_loss([system, turns(1)[0]])
    assert found.reasons == {0: "the chat template refuses it: no system"}
    assert np.isnan(found.conditioned[0]) and np.isfinite(found.conditioned[1])


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_other_architectures_are_refused(tiny, kind):
    with pytest.raises(ModelError, match="not a causal LM; give a folder"):
        load(tiny(kind))


def test_missing_weights_are_refused(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "partial"
    shutil.copytree(tiny("llama"), folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks the weights model\.layers\.1\.mlp"):
        load(folder)


def test_pickled_weights_are_refused(tiny, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny("llama"), folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match="no safetensors; pickled weights can run code"):
        load(folder)


def test_missing_folders_and_files_are_one_line_errors(tmp_path, tiny):
    with pytest.raises(ModelError, match="does not exist"):
        load(tmp_path / "nowhere")
    folder = tmp_path / "wordless"
    shutil.copytree(tiny("llama"), folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_limit_beyond_the_model_is_refused(tiny):
    with pytest.raises(ModelError, match="more than the 512 tokens"):
        load(tiny("gpt2"), max_length=513)


def test_no_start_token_is_refused(tiny, tmp_path):
    folder = tmp_path / "startless"
    shutil.copytree(tiny("no_bos"), folder)
    for name in ("tokenizer_config.json", "config.json"):
        fields = json.loads((folder / name).read_text())
        kept = {k: v for k, v in fields.items() if not k.startswith(("eos_", "bos_", "pad_"))}
        (folder / name).write_text(json.dumps(kept))
    with pytest.raises(ModelError, match="declares no BOS, EOS or PAD"):
        load(folder)


def test_real_model_knows_its_stories(shared_models):
    model = load(shared_models / "stories260k")
    history = (Message("user", "Tell me a story."),)
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside."
    shuffled = " ".join(reversed(story.split()))
    loss = model.response_loss([Turn(history, story), Turn(history, shuffled)]).conditioned
    assert loss[0] < 1.5 < 3 < loss[1]
