"""Supervised fine-tuning: the next token of every assistant message, all weights or LoRA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from instructmine.contracts import Checkpoint, Context, Trainer, execution
from instructmine.errors import UsageError
from instructmine.models.spec import ModelSpec, template_identity
from instructmine.pool import Example


@dataclass(frozen=True, kw_only=True)
class Sft(Trainer):
    """Fine-tunes any causal LM on examples; the loss is on assistant tokens alone.

    Epochs are InstructMining's (arXiv 2307.06290); its other settings are not known, and batch
    128 and learning rate 2e-5 for 7 billion parameters are usual ones.

    method: `full` trains all weights, `lora` low-rank adapters, merged at the end.
    epochs: passes over the examples; steps, if given, fixes the optimiser steps instead, so that
    subsets of different size get the same amount of training.
    learning_rate: of the peak; none takes 2e-5 · √(7e9 / parameters), at most 1e-3, ten times
    that for LoRA: small models and adapters need more.
    batch_size: examples per optimiser step, whatever fits into memory at once.
    warmup: share of the steps in which the learning rate rises.
    max_length: tokens of a conversation; the model's own limit by default.
    precision: `auto` computes in bfloat16 where the hardware does; weights stay in float32.
    save_dtype: of the saved weights.
    micro_tokens: tokens computed at once; halved by itself when memory runs out.
    checkpoint_minutes: how often an unfinished training is saved.
    Not covered: more than one device for one training.
    """

    version = 1

    method: Literal["full", "lora"] = "full"
    epochs: float = 3.0
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float | None = None
    warmup: float = 0.03
    weight_decay: float = 0.0
    max_length: int | None = None
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    save_dtype: str = "float32"
    micro_tokens: int | None = execution(None)
    gradient_checkpointing: bool = execution(False)
    checkpoint_minutes: float = execution(10.0)
    gpus: float = execution(1.0)

    def __post_init__(self) -> None:
        """Refuse numbers that make no training."""
        for name in ("epochs", "batch_size", "lora_rank", "learning_rate", "steps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"sft.{name} must be positive, not {value}")

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force and the template; only what has a say."""
        spec = ModelSpec.read(self.base_model)
        fields = super().identity() | {
            "max_length": spec.max_length(self.max_length),
            "template": template_identity(spec.template()),
        }
        unused = [] if self.method == "lora" else [n for n in fields if n.startswith("lora_")]
        unused += ["epochs"] if self.steps is not None else ["steps"]
        return {name: value for name, value in fields.items() if name not in unused}

    def train(
        self, examples: Sequence[Example], *, seed: int, folder: Path, context: Context
    ) -> Checkpoint:
        """Fine-tune and publish the model as `folder`."""
        from instructmine.models.finetune import Lora, Options, fine_tune

        adapters = Lora(self.lora_rank, self.lora_alpha, self.lora_dropout)
        options = Options(
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            max_length=self.max_length,
            lora=adapters if self.method == "lora" else None,
            precision=self.precision,
            save_dtype=self.save_dtype,
            micro_tokens=self.micro_tokens,
            gradient_checkpointing=self.gradient_checkpointing,
            checkpoint_seconds=60 * self.checkpoint_minutes,
        )
        facts = fine_tune(
            self.base_model, examples, options, seed=seed, folder=folder, context=context
        )
        return Checkpoint(None if "error" in facts else folder, facts)
