"""Fine-tuning: the loss is the field's, and nothing but the seed decides the result."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import instructmine.models.finetune as finetune
from instructmine.contracts import Context
from instructmine.errors import ModelError, UsageError
from instructmine.modelref import ModelRef
from instructmine.models.loading import quiet
from instructmine.pool import Example
from instructmine.trainers.sft import Sft
from pools import rows
from tiny_models import CHATML

CPU = Context(device="cpu", threads=1)
EXAMPLES = [Example.single(r["instruction"], r["output"]) for r in rows(21)]


@pytest.fixture
def base(tiny):
    return ModelRef(str(tiny("llama", template=CHATML)))


def sft(base, **options):
    options = {
        "precision": "float32",
        "batch_size": 8,
        "epochs": 2,
        "learning_rate": 3e-3,
    } | options
    return Sft(base_model=base, **options)


def train(trainer, folder, examples=EXAMPLES, seed=5):
    return trainer.train(examples, seed=seed, folder=folder, context=CPU)


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    return all(torch.allclose(one[n], other[n], rtol=0, atol=tolerance) for n in one)


def test_the_first_loss_is_transformers_own(base, tmp_path):
    from transformers import AutoModelForCausalLM

    from instructmine.models.spec import ModelSpec
    from instructmine.models.tokens import load_tokenizer
    from instructmine.models.training_text import TrainingTexts

    made = train(sft(base, steps=1, batch_size=64), tmp_path / "m")
    spec = ModelSpec.read(base)
    encoder = TrainingTexts(spec, load_tokenizer(spec), None)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base.folder(), dtype=torch.float32)
    total = count = 0
    for example in EXAMPLES:
        text = encoder.encode(example)
        labels = torch.full((1, len(text)), -100)
        labels[0, text.targets] = torch.tensor(text.ids)[text.targets]
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([text.ids]), labels=labels).loss
        total += float(loss) * len(text.targets)
        count += len(text.targets)
    assert made.facts["train_loss"] == pytest.approx(total / count, abs=1e-5)
    assert made.facts["response_tokens"] == count


def test_training_follows_a_plain_loop_over_whole_batches(base, tmp_path):
    """AdamW with clipping, warm-up and cosine, written out with padding, mask and labels."""
    from transformers import AutoModelForCausalLM

    from instructmine.models.spec import ModelSpec
    from instructmine.models.tokens import load_tokenizer
    from instructmine.models.training_text import TrainingTexts

    trainer = sft(base, steps=6, warmup=0.3, weight_decay=0.1)
    train(trainer, tmp_path / "m", seed=5)
    spec = ModelSpec.read(base)
    encoder = TrainingTexts(spec, load_tokenizer(spec), None)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(base.folder(), dtype=torch.float32).train()
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}], lr=3e-3
    )
    ordered = sorted(EXAMPLES, key=lambda example: example.id)
    for step in range(6):
        epoch, place = divmod(step, 3)
        order = np.random.default_rng([5, epoch]).permutation(len(ordered))
        texts = [encoder.encode(ordered[i]) for i in order[8 * place : 8 * place + 8]]
        longest = max(map(len, texts))
        ids = torch.zeros((len(texts), longest), dtype=torch.long)
        labels = torch.full((len(texts), longest), -100)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text.ids)
            labels[row, text.targets] = torch.tensor(text.ids)[text.targets]
        mask = (torch.arange(longest) < torch.tensor([[len(t)] for t in texts])).long()
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * ((step + 1) / 2 if step < 2 else
                                  0.5 * (1 + np.cos(np.pi * (step - 2) / 4)))  # fmt: skip
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    own = weights(tmp_path / "m")
    for name, value in model.state_dict().items():
        if name in own:
            assert torch.allclose(own[name], value, atol=2e-4), name


def test_the_same_seed_gives_the_same_model_whatever_the_order(base, tmp_path):
    train(sft(base), tmp_path / "a")
    train(sft(base), tmp_path / "b", examples=EXAMPLES[::-1])
    train(sft(base), tmp_path / "c", seed=6)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"), 1e-6)


def test_micro_batches_change_speed_only(base, tmp_path):
    train(sft(base), tmp_path / "a")
    made = train(sft(base, micro_tokens=1), tmp_path / "b")
    assert made.facts["micro_tokens"] == 1
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"), 1e-3)
    assert sft(base).identity() == sft(base, micro_tokens=1).identity()


def test_short_texts_attention_is_written_out_in_bfloat16_alone(base, tmp_path, monkeypatch):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    asked = []

    def asking(backend):
        asked.append(backend)
        return sdpa_kernel(backend)

    monkeypatch.setattr(finetune, "sdpa_kernel", asking)
    exact = train(sft(base, steps=1), tmp_path / "float32")
    assert not asked
    written = train(sft(base, steps=1, precision="bfloat16"), tmp_path / "written")
    assert asked == [SDPBackend.MATH]
    monkeypatch.setattr(finetune, "_SHORT", 0)
    fused = train(sft(base, steps=1, precision="bfloat16"), tmp_path / "fused")
    assert len(asked) == 1
    for made in (written, fused):
        assert made.facts["train_loss"] == pytest.approx(exact.facts["train_loss"], rel=1e-2)


def test_running_out_of_memory_halves_the_micro_batch_and_goes_on(base, tmp_path, monkeypatch):
    train(sft(base), tmp_path / "a")
    whole = finetune.WantedLogits.__call__
    failures = []

    def tight(self, ids, rows, columns):
        if ids.numel() > 400:
            failures.append(ids.numel())
            raise torch.OutOfMemoryError("out of memory")
        return whole(self, ids, rows, columns)

    monkeypatch.setattr(finetune.WantedLogits, "__call__", tight)
    made = train(sft(base), tmp_path / "b")
    assert failures
    assert made.facts["micro_tokens"] < 4096
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"), 1e-3)


def test_one_text_that_never_fits_is_one_clear_line(base, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(finetune.WantedLogits, "__call__", full)
    with pytest.raises(ModelError, match="does not fit in memory; lower sft.max_length"):
        train(sft(base), tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("options", [{}, {"method": "lora", "lora_dropout": 0.1}])
def test_a_stopped_training_goes_on_to_the_same_model(base, tmp_path, monkeypatch, options):
    trainer = sft(base, checkpoint_minutes=0.0, **options)
    train(trainer, tmp_path / "whole")
    step = finetune._Training._step

    def stopped(self, batch):
        if self.step == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(finetune._Training, "_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(trainer, tmp_path / "m")
    assert not (tmp_path / "m").exists()
    state = tmp_path / "m.state"
    assert json.loads((state / "position.json").read_text())["step"] == 4
    assert sorted(path.suffix for path in state.iterdir()) == [".json", ".safetensors"]

    taken = []

    def counted(self, batch):
        taken.append(self.step)
        return step(self, batch)

    monkeypatch.setattr(finetune._Training, "_step", counted)
    train(trainer, tmp_path / "m")
    assert taken == [4, 5]
    assert not state.exists()
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "m"))


def test_the_model_is_an_ordinary_folder_with_its_template(tiny, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = train(sft(ModelRef(str(tiny("gpt2"))), steps=1), tmp_path / "m")
    with quiet():
        AutoModelForCausalLM.from_pretrained(tmp_path / "m")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False,
                                         add_generation_prompt=True)  # fmt: skip
    assert text.endswith("### Instruction:\nHi\n\n### Response:\n")
    assert made.model.folder() == tmp_path / "m"
    names = {path.suffix for path in (tmp_path / "m").iterdir()}
    assert names <= {".json", ".safetensors", ".jinja", ".txt"}


def test_lora_trains_adapters_alone_and_merges_them(base, tmp_path):
    train(sft(base, method="lora", learning_rate=1e-2), tmp_path / "m")
    before, after = weights(base.folder()), weights(tmp_path / "m")
    changed = {n for n in before if not torch.allclose(before[n].float(), after[n], atol=1e-6)}
    assert changed
    assert all("proj" in name for name in changed), changed


def test_a_diverged_training_is_recorded_and_leaves_no_model(base, tmp_path):
    made = train(sft(base, learning_rate=1e30, epochs=3, warmup=0.0), tmp_path / "m")
    assert made.error.startswith("diverged: the training loss is")
    assert not (tmp_path / "m").exists()
    with pytest.raises(UsageError, match="no model to use"):
        _ = made.model


def test_identity_holds_what_has_a_say(base):
    full = sft(base).identity()
    assert not any(name.startswith("lora") for name in full)
    assert "steps" not in full and full["epochs"] == 2
    fixed = sft(base, steps=9).identity()
    assert "epochs" not in fixed and fixed["steps"] == 9
    assert sft(base, method="lora").identity()["lora_rank"] == 16
    assert full["base_model"].keys() == {"digest"}


@pytest.mark.parametrize("option", ["epochs", "batch_size", "learning_rate", "steps"])
def test_numbers_that_make_no_training_are_refused(base, option):
    with pytest.raises(UsageError, match=f"sft.{option} must be positive"):
        sft(base, **{option: 0})


def test_a_base_without_tokenizer_or_that_is_no_causal_lm_is_refused(tiny, base, tmp_path):
    import shutil

    with pytest.raises(ModelError, match="not a causal LM"):
        train(sft(ModelRef(str(tiny("bert_reward")))), tmp_path / "m")
    bare = tmp_path / "bare"
    shutil.copytree(base.folder(), bare)
    for path in bare.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        train(sft(ModelRef(str(bare))), tmp_path / "m")


def test_nothing_to_train_on_is_one_clear_line(base, tmp_path):
    with pytest.raises(UsageError, match="nothing to train"):
        train(sft(base), tmp_path / "m", examples=[])


def test_small_models_get_a_higher_usual_rate(base, tmp_path):
    made = train(sft(base, learning_rate=None, steps=1), tmp_path / "m")
    assert made.facts["learning_rate"] == 1e-3
