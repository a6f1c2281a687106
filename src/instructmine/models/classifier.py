"""Binary text classifiers: an encoder with a fresh head, trained on labels, and its probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.files import publish_folder
from instructmine.modelref import ModelRef
from instructmine.models.batching import BatchRunner, plan, right_pad, workers_for
from instructmine.models.loading import (
    LOAD_ERRORS,
    load_model,
    quiet,
    require_safetensors,
    torch_device,
)
from instructmine.models.spec import ModelSpec
from instructmine.models.templates import Rendered
from instructmine.models.tokens import TextEncoder, load_tokenizer

HEADS = ("classifier", "score", "pre_classifier", "pooler", "bert.pooler", "roberta.pooler")
_MICRO_TOKENS = 4096
_CLIP = 1.0


@dataclass(frozen=True)
class Training:
    """How a classifier is trained. learning_rate: None takes 5e-5 · √(1.1e8 / parameters).

    balanced: labels count so that both classes weigh alike; the probability is then that of a
    world where half is positive.
    """

    epochs: int = 4
    batch_size: int = 32
    learning_rate: float | None = None
    weight_decay: float = 0.01
    balanced: bool = False
    max_length: int | None = None


def train_classifier(
    base: ModelRef,
    texts: Sequence[str],
    labels: Sequence[bool],
    options: Training,
    *,
    seed: int,
    folder: Path,
    context: Context,
) -> None:
    """Train an encoder with a fresh head to tell positive texts, and publish it as `folder`.

    The order of texts has no influence where they come in order of their ids: it is drawn from
    the seed. Raises ModelError where the base is no encoder.
    """
    spec = ModelSpec.read(base)
    device = torch_device(context)
    torch.manual_seed(seed)  # of the head and of dropout
    model = _with_head(spec).to(device).train()
    tokenizer = load_tokenizer(spec)
    rows, _ = _encode(TextEncoder(tokenizer), texts, spec.encoder_length(options.max_length))
    targets = torch.tensor([int(one) for one in labels])
    weights = _class_weights(targets) if options.balanced else torch.ones(2)
    parameters = sum(p.numel() for p in model.parameters())
    peak = options.learning_rate or min(1e-3, 5e-5 * math.sqrt(1.1e8 / parameters))
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, weight_decay=options.weight_decay)
    per_epoch = math.ceil(len(rows) / options.batch_size)
    steps = options.epochs * per_epoch
    rng = np.random.default_rng(seed)
    for step in range(steps):
        if step % per_epoch == 0:
            order = rng.permutation(len(rows))
        place = (step % per_epoch) * options.batch_size
        batch = order[place : place + options.batch_size]
        for group in optimizer.param_groups:
            group["lr"] = peak * _rate(step, steps)
        own = torch.tensor(batch)
        total = weights[targets[own]].sum()
        for micro in plan([len(rows[i]) for i in batch], _MICRO_TOKENS):
            chosen = [int(batch[i]) for i in micro]
            ids, mask = right_pad([rows[i] for i in chosen], tokenizer.pad_token_id or 0, device)
            logits = model(input_ids=ids, attention_mask=mask).logits.float()
            wanted = targets[chosen].to(device)
            loss = torch.nn.functional.cross_entropy(
                logits, wanted, weight=weights.to(device), reduction="sum"
            )
            (loss / total).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with publish_folder(folder) as beside, quiet():
        model.save_pretrained(beside)
        tokenizer.save_pretrained(beside)


class Classifier:
    """A trained classifier: the probability that a text is positive."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        device: torch.device,
        limit: int | None,
        batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.encoder = TextEncoder(tokenizer)
        self.limit = limit
        self.runner = BatchRunner(device, batch_tokens, workers_for(model, device))
        self._pad = tokenizer.pad_token_id or 0

    @classmethod
    def load(
        cls,
        model: ModelRef,
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        context: Context | None = None,
    ) -> Classifier:
        """Load a folder. Raises ModelError where it holds no classifier of two classes."""
        from transformers import AutoModelForSequenceClassification

        context = context or Context()
        spec = ModelSpec.read(model)
        purpose = "a classifier"
        loaded = load_model(
            AutoModelForSequenceClassification,
            spec,
            dtype="float32",
            context=context,
            purpose=purpose,
        )
        if loaded.config.num_labels != 2:
            raise ModelError(
                f"model '{spec.name}' tells {loaded.config.num_labels} classes apart, not two; "
                "give a classifier with num_labels 2"
            )
        limit = spec.encoder_length(max_length)
        return cls(loaded, load_tokenizer(spec), torch_device(context), limit, batch_tokens)

    def probabilities(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.float64], dict[int, str], frozenset[int]]:
        """Return (n,) probabilities, reasons for NaN, and positions of cut texts."""
        rows, cut = _encode(self.encoder, texts, self.limit)

        def forward(batch: list[int]) -> npt.NDArray[np.float64]:
            ids, mask = right_pad([rows[i] for i in batch], self._pad, self.runner.device)
            logits = self.model(input_ids=ids, attention_mask=mask).logits.float()
            return logits.softmax(dim=1)[:, 1:].cpu().double().numpy()

        found, reasons = self.runner.run([len(row) for row in rows], forward)
        return found[:, 0], reasons, cut


def _encode(
    encoder: TextEncoder, texts: Sequence[str], limit: int | None
) -> tuple[list[list[int]], frozenset[int]]:
    """Return each text's tokens, its end cut where it is too long, and which were cut."""
    spans = encoder.spans([Rendered("", text, "") for text in texts], special=True)
    fitted = [span.fit(limit, keep=span.start) for span in spans]
    return [span.ids for span in fitted], frozenset(i for i, s in enumerate(fitted) if s.cut)


def _with_head(spec: ModelSpec) -> Any:
    """Load an encoder with a fresh head of two classes; only the head may be new."""
    from transformers import AutoModelForSequenceClassification

    require_safetensors(spec)
    with quiet():
        try:
            model, info = AutoModelForSequenceClassification.from_pretrained(
                str(spec.folder), num_labels=2, dtype=torch.float32, local_files_only=True,
                use_safetensors=True, trust_remote_code=False, output_loading_info=True,
            )  # fmt: skip
        except LOAD_ERRORS as error:
            raise ModelError(
                f"model '{spec.name}' cannot be made into a classifier ({type(error).__name__}); "
                "give an encoder such as google-bert/bert-base-uncased"
            ) from error
    strange = [name for name in info["missing_keys"] if not name.startswith(HEADS)]
    if strange:
        raise ModelError(
            f"model '{spec.name}' lacks the weights {min(strange)}, so it is no encoder; give "
            "another one"
        )
    if not any(name.startswith(HEADS[:2]) for name in info["missing_keys"]):
        raise ModelError(
            f"model '{spec.name}' is a classifier already, and may know the rows that are held "
            "out; give the encoder that it was trained from"
        )
    return model


def _class_weights(targets: torch.Tensor) -> torch.Tensor:
    counts = torch.bincount(targets, minlength=2).clamp(min=1).float()
    return counts.sum() / (2 * counts)


def _rate(step: int, steps: int) -> float:
    """Share of the peak learning rate: a tenth of the steps up, then linearly to zero."""
    warm = max(1, math.ceil(0.1 * steps))
    return (step + 1) / warm if step < warm else (steps - step) / max(1, steps - warm)
