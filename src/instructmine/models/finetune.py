"""Supervised fine-tuning of a causal LM, as one loop that can be read in one sitting.

Loss on assistant tokens alone, averaged over the tokens of the effective batch, whatever the
micro-batches it is computed in. Everything random depends on the seed and the step, so a training
that was stopped and resumed gives what it would have given. State is kept as safetensors and
JSON, and published by rename.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel

from instructmine.contracts import Context
from instructmine.errors import MissingExtraError, ModelError, UsageError
from instructmine.files import publish_folder, write_text
from instructmine.modelref import ModelRef
from instructmine.models.batching import SMALL_MODEL, out_of_memory, plan, right_pad
from instructmine.models.causal_lm import require_causal, start_id, token_loss
from instructmine.models.head import WantedLogits
from instructmine.models.loading import load_model, quiet, torch_dtype
from instructmine.models.side_by_side import Crew
from instructmine.models.spec import ModelSpec
from instructmine.models.tokens import load_tokenizer
from instructmine.models.training_text import TrainingText, TrainingTexts, encode_all
from instructmine.pool import Example

CPU_MICRO_TOKENS, GPU_MICRO_TOKENS = 4096, 16_384
_CLIP = 1.0  # gradient norm
_SHORT = 512  # tokens; longer texts' attention matrices would take too much memory
_POSITION = ("step", "losses", "seconds", "tokens", "response_tokens", "micro_tokens")


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters (arXiv 2106.09685) on every linear layer but the output head."""

    rank: int
    alpha: int
    dropout: float


@dataclass(frozen=True)
class Options:
    """How to fine-tune; see `trainers/sft.py` for what each means."""

    epochs: float
    steps: int | None
    batch_size: int
    learning_rate: float | None
    warmup: float
    weight_decay: float
    max_length: int | None
    lora: Lora | None
    precision: Literal["auto", "bfloat16", "float32"]
    save_dtype: str
    micro_tokens: int | None
    gradient_checkpointing: bool
    checkpoint_seconds: float


def fine_tune(
    base: ModelRef,
    examples: Sequence[Example],
    options: Options,
    *,
    seed: int,
    folder: Path,
    context: Context,
) -> dict[str, Any]:
    """Fine-tune `base` and publish the model as `folder`; returns what it took.

    Examples are put in the order of their ids first, so that only the seed decides the order.
    The state of an unfinished training is kept beside the folder and gone on from.

    Raises ModelError or UsageError for what a user can mend; a loss that is no longer a number
    ends training with `error` in the result and no folder.
    """
    spec = ModelSpec.read(base)
    require_causal(spec)
    tokenizer = load_tokenizer(spec)
    texts = TrainingTexts(spec, tokenizer, options.max_length)
    rows, refused = encode_all(texts, sorted(examples, key=lambda example: example.id))
    if not rows:
        why = next(iter(refused), "there are no examples")
        raise UsageError(f"nothing to train '{base}' on: {why}")
    training = _Training(spec, start_id(tokenizer, spec), rows, options, seed, context)
    state_folder = folder.with_name(f"{folder.name}.state")
    try:
        training.resume(state_folder)
        error = training.run(state_folder)
        if error is None:
            with publish_folder(folder) as beside:
                training.save(beside)
                tokenizer.chat_template = texts.template.source
                with quiet():
                    tokenizer.save_pretrained(beside)
    finally:
        training.close()
    shutil.rmtree(state_folder, ignore_errors=True)
    return training.facts() | {
        "truncated": sum(row.cut for row in rows),
        "left_out": refused,
        **({"error": error} if error else {}),
    }


class _Training:
    """Model, optimiser and position of one training."""

    def __init__(
        self,
        spec: ModelSpec,
        pad: int,
        rows: list[TrainingText],
        options: Options,
        seed: int,
        context: Context,
    ) -> None:
        self.options, self.rows, self.pad, self.seed = options, rows, pad, seed
        self.per_epoch = math.ceil(len(rows) / options.batch_size)
        self.steps = options.steps or max(1, round(options.epochs * self.per_epoch))
        torch.manual_seed(seed)  # adapters start from random numbers
        self.model = _load(spec, options, context)
        self.logits = WantedLogits(self.model, spec.name)
        self.device = self.model.device
        self.precision = _precision(options.precision, self.device)
        self.peak_rate = options.learning_rate or _usual_rate(self.model, options.lora)
        self.trained = {n: p for n, p in self.model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            _groups(self.trained, options.weight_decay),
            lr=self.peak_rate,
            fused=self.device.type in ("cpu", "cuda"),
        )
        default = CPU_MICRO_TOKENS if self.device.type == "cpu" else GPU_MICRO_TOKENS
        self.micro_tokens = options.micro_tokens or default
        self._small = sum(value.numel() for value in self.model.parameters()) <= SMALL_MODEL
        self._crew = Crew(self.model, self.device)
        self.step, self.seconds, self.tokens, self.response_tokens = 0, 0.0, 0, 0
        self.losses: list[float] = []

    def run(self, state_folder: Path) -> str | None:
        """Train to the end; returns why it could not be, if the loss is no number."""
        saved = started = time.perf_counter()
        before = self.seconds
        while self.step < self.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = self.peak_rate * self._rate(self.step)
            loss = self._step([self.rows[row] for row in self._batch(self.step)])
            self.step += 1
            self.losses.append(loss)
            now = time.perf_counter()
            self.seconds = before + now - started
            if not math.isfinite(loss):
                return f"diverged: the training loss is {loss} at step {self.step}"
            if now - saved > self.options.checkpoint_seconds and self.step < self.steps:
                self._save_state(state_folder)
                saved = now
        return None

    def _batch(self, step: int) -> list[int]:
        """Return the rows of a step: epochs are drawn one after the other without replacement."""
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        size = self.options.batch_size
        return [int(row) for row in order[place * size : (place + 1) * size]]

    def _rate(self, step: int) -> float:
        """Share of the peak learning rate: linear warm-up, then a cosine to zero."""
        warm = math.ceil(self.options.warmup * self.steps)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _step(self, batch: Sequence[TrainingText]) -> float:
        """Take one optimiser step; returns the mean loss over the batch's trained tokens.

        Where memory runs out the micro-batches are halved and the step is taken again.
        """
        lengths = [len(text) for text in batch]
        count = sum(len(text.targets) for text in batch)
        while True:
            torch.manual_seed(self.seed + self.step)  # dropout, the same after a resume
            budget = min(self.micro_tokens, math.ceil(sum(lengths) / self._crew.workers))
            micros = [[batch[i] for i in one] for one in plan(lengths, budget)]
            try:
                with self._attention(max(lengths)):
                    total = self._crew.backward(
                        [lambda texts=texts: self._share(texts, count) for texts in micros],
                        list(self.trained.values()),
                    )
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
            self._shrink(max(lengths))
        if math.isfinite(total):
            torch.nn.utils.clip_grad_norm_(self.trained.values(), _CLIP)
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.tokens += sum(lengths)
        self.response_tokens += count
        return total

    def _share(self, texts: Sequence[TrainingText], count: int) -> torch.Tensor:
        """Return a micro-batch's share of the loss."""
        ids, _ = right_pad([text.ids for text in texts], self.pad, self.device)
        rows = np.repeat(np.arange(len(texts)), [len(text.targets) for text in texts])
        targets = np.concatenate([np.asarray(text.targets) for text in texts])
        at, before = torch.as_tensor(rows), torch.as_tensor(targets - 1)
        wanted = ids[at.to(ids.device), torch.as_tensor(targets, device=ids.device)]
        bf16 = self.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
            logits = self.logits(ids, at, before)
        return token_loss(logits, wanted).sum() / count

    def _attention(self, longest: int) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which a batch's attention is computed the quickest way.

        On a CPU the fused kernel's backward pass is slow in bfloat16; a small model's step takes
        less with the matrix of weights written out. In float32 it takes no less.
        """
        slow = self.device.type == "cpu" and self.precision == "bfloat16"
        if slow and self._small and longest <= _SHORT:
            return sdpa_kernel(SDPBackend.MATH)
        return contextlib.nullcontext()

    def _shrink(self, longest: int) -> None:
        """Halve the micro-batches. Raises ModelError when they hold a single text already."""
        if self.micro_tokens <= 1:
            raise ModelError(
                f"one text of {longest:,} tokens does not fit in memory; lower sft.max_length, "
                "set sft.gradient_checkpointing=true or sft.method=lora"
            )
        self.micro_tokens = min(self.micro_tokens, max(longest, self.micro_tokens // 2))
        if self.micro_tokens <= longest:
            self.micro_tokens = 1  # every text by itself
        self.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def save(self, folder: Path) -> None:
        """Write the model as an ordinary folder; adapters are merged into their layers."""
        model = self.model
        with quiet():
            if self.options.lora is not None:
                model = model.merge_and_unload()
            model.to(torch_dtype(self.options.save_dtype)).save_pretrained(folder)

    def facts(self) -> dict[str, Any]:
        """What training took."""
        return {
            "steps": self.step,
            "epochs": round(self.step / self.per_epoch, 4),
            "tokens": self.tokens,
            "response_tokens": self.response_tokens,
            "train_loss": self.losses[-1] if self.losses else None,
            "seconds": round(self.seconds, 3),
            "learning_rate": self.peak_rate,
            "precision": self.precision,
            "micro_tokens": self.micro_tokens,
        }

    def close(self) -> None:
        """Let go of model and optimiser."""
        self._crew.close()
        del self.model, self.logits, self.optimizer, self.trained
        gc.collect()

    def _save_state(self, folder: Path) -> None:
        """Publish weights, optimiser state and position, so that training can go on from here."""
        with publish_folder(folder) as beside:
            tensors = {f"weight.{name}": value for name, value in self.trained.items()}
            for name, value in self.trained.items():
                for key, state in self.optimizer.state[value].items():
                    tensors[f"{key}.{name}"] = state
            whole = {name: value.detach().contiguous() for name, value in tensors.items()}
            save_file(whole, beside / "state.safetensors")
            position = {name: getattr(self, name) for name in _POSITION}
            write_text(beside / "position.json", json.dumps(position))

    def resume(self, folder: Path) -> None:
        """Go on from a published state, if there is one."""
        if not folder.is_dir():
            return
        position = json.loads((folder / "position.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "state.safetensors")
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(tensors[f"weight.{name}"])
                state = self.optimizer.state[value]
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    state[key] = tensors[f"{key}.{name}"].to(value.device)
        for key, value in position.items():
            setattr(self, key, value)


def _load(spec: ModelSpec, options: Options, context: Context) -> Any:
    from transformers import AutoModelForCausalLM

    model = load_model(
        AutoModelForCausalLM, spec, dtype="float32", context=context, purpose="a causal LM"
    )
    if options.lora is None:
        model.requires_grad_(True)
    else:
        model = _with_adapters(model, options.lora)
    if options.gradient_checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    return model.train()


def _with_adapters(model: Any, lora: Lora) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError("peft", "train", "LoRA") from error
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout,
        target_modules="all-linear", task_type="CAUSAL_LM",
    )  # fmt: skip
    with quiet():
        return get_peft_model(model, config)


def _groups(trained: dict[str, torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only, as is usual."""
    matrices = [value for value in trained.values() if value.ndim >= 2]
    rest = [value for value in trained.values() if value.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _usual_rate(model: Any, lora: Lora | None) -> float:
    """Return a usual peak learning rate for the size of a model."""
    parameters = sum(value.numel() for value in model.parameters())
    rate = min(1e-3, 2e-5 * math.sqrt(7e9 / parameters))
    return rate if lora is None else 10 * rate


def _precision(asked: str, device: torch.device) -> str:
    """Return bfloat16 where it was asked for, or where the hardware computes in it."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        able = False
    return "bfloat16" if able else "float32"
