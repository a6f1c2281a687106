"""Reward models: one number for a conversation and its response.

Two layouts: any one-logit sequence classifier with a chat template, and OpenAssistant's
`gpt_neox_reward_model` (a GPT-NeoX trunk and `out_proj`), for which transformers has no class.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.batching import BatchRunner, right_pad, workers_for
from instructmine.models.loading import (
    load_model,
    quiet,
    refuse_missing,
    require_safetensors,
    torch_device,
    torch_dtype,
)
from instructmine.models.spec import OPENASSISTANT_REWARD, ModelSpec
from instructmine.models.templates import Renderer
from instructmine.models.tokens import TextEncoder, encode_turns, load_tokenizer
from instructmine.pool import Turn

_POOLINGS = ("last", "mean")


@dataclass(frozen=True)
class Rewards:
    """values: (n,) rewards, NaN with a reason where there is none. truncated: texts cut."""

    values: npt.NDArray[np.float64]
    reasons: dict[int, str]
    truncated: frozenset[int]


class RewardModel:
    """A reward model of either layout. Higher is better; the unit is the model's own."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        spec: ModelSpec,
        device: torch.device,
        max_length: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.spec = spec
        self.renderer = Renderer(spec.template(default=None), tokenizer.special_tokens_map)
        self.encoder = TextEncoder(tokenizer)
        self.max_length = spec.max_length(max_length)
        self.runner = BatchRunner(device, batch_tokens, workers_for(model, device))
        self._bos = tokenizer.bos_token_id
        self._pad = tokenizer.pad_token_id or 0  # hidden by the mask, so any id will do

    @classmethod
    def load(
        cls,
        model: ModelRef,
        *,
        dtype: str = "float32",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        context: Context | None = None,
    ) -> RewardModel:
        """Load a model by name. Raises ModelError where it is no reward model."""
        spec = ModelSpec.read(model)
        spec.template(default=None)  # fail before the weights are read
        context = context or Context()
        if spec.model_type == OPENASSISTANT_REWARD:
            loaded = load_openassistant(spec, dtype, context)
        else:
            loaded = _load_classifier(spec, dtype, context)
        tokenizer = load_tokenizer(spec)
        device = torch_device(context)
        return cls(loaded, tokenizer, spec, device, max_length, batch_tokens)

    def rewards(self, turns: Sequence[Turn]) -> Rewards:
        """Score each turn's response, given its history."""
        spans, reasons = encode_turns(self.renderer, self.encoder, turns, to_response_end=False)
        fitted = [s.fit(self.max_length, keep=int(s.ids[:1] == [self._bos])) for s in spans]
        scorable = [index for index in range(len(turns)) if index not in reasons]
        rows = [fitted[index].ids for index in scorable]

        def forward(batch: list[int]) -> npt.NDArray[np.float64]:
            ids, mask = right_pad([rows[i] for i in batch], self._pad, self.runner.device)
            return self.model(ids, mask).cpu().double().numpy()[:, None]

        found, failed = self.runner.run([len(row) for row in rows], forward)
        values = np.full(len(turns), np.nan)
        values[scorable] = found[:, 0]
        reasons |= {scorable[position]: reason for position, reason in failed.items()}
        return Rewards(values, reasons, frozenset(i for i in scorable if fitted[i].cut))


class OpenAssistantReward(torch.nn.Module):
    """GPT-NeoX trunk, pooling over positions, and one linear output."""

    def __init__(self, trunk: Any, out_proj: torch.nn.Linear, pooling: str) -> None:
        super().__init__()
        self.gpt_neox = trunk
        self.out_proj = out_proj
        self.pooling = pooling

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (rows,) rewards; `last` reads the last position whose mask is 1."""
        # Padding behind a text is unseen by causal attention; in front of one it must be masked,
        # and positions counted over real tokens.
        seen: dict[str, torch.Tensor] = {}
        if not mask[:, 0].all():
            seen = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
        hidden = self.gpt_neox(input_ids=ids, use_cache=False, **seen).last_hidden_state
        if self.pooling == "mean":
            weights = mask[:, :, None].to(hidden.dtype)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        else:
            pooled = hidden[torch.arange(len(ids), device=ids.device), last_position(mask)]
        return self.out_proj(pooled)[:, 0].float()


class ClassifierReward(torch.nn.Module):
    """A one-logit sequence classifier, pooled as transformers pools a text by itself."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._batch = threading.local()  # scores per position of the batch in this thread
        config = model.config.get_text_config()
        self._pad = config.pad_token_id
        # Decoders score every position and transformers then picks one by comparing ids with the
        # pad id, which it needs for that; we pick by the mask and do not care which id it is.
        self._decoder = isinstance(getattr(model, "score", None), torch.nn.Module)
        if self._decoder:
            model.score.register_forward_hook(self._keep)
            if self._pad is None:
                config.pad_token_id = 0

    def _keep(self, _module: Any, _inputs: Any, output: torch.Tensor) -> None:
        self._batch.scores = output

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (rows,) rewards of texts padded on the right."""
        if not self._decoder:  # reads the first position, or pools by the mask
            return self.model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
        self.model(input_ids=ids, use_cache=False)  # causal: padding behind a text is unseen
        scores, self._batch.scores = self._batch.scores, None
        # Alone, a text is read at its last token that is not the pad token: where a template
        # ends in the pad token (often EOS), models were trained on the position before it.
        real = mask if self._pad is None else mask * (ids != self._pad)
        return scores[torch.arange(len(ids), device=ids.device), last_position(real), 0].float()


def last_position(mask: torch.Tensor) -> torch.Tensor:
    """Return the (rows,) last position whose mask is 1, whichever side the padding is on."""
    return (mask.to(torch.long) * torch.arange(mask.shape[1], device=mask.device)).argmax(1)


def _load_classifier(spec: ModelSpec, dtype: str, context: Context) -> ClassifierReward:
    from transformers import AutoModelForSequenceClassification

    purpose = "a reward model"
    if spec.architectures and "ForSequenceClassification" not in spec.architectures[0]:
        raise ModelError(
            f"model '{spec.name}' is a {spec.architectures[0]}, not {purpose}; give a one-logit "
            "sequence classifier or an OpenAssistant reward model"
        )
    loaded = load_model(
        AutoModelForSequenceClassification, spec, dtype=dtype, context=context, purpose=purpose
    )
    if loaded.config.num_labels != 1:
        raise ModelError(
            f"model '{spec.name}' gives {loaded.config.num_labels} logits, not one reward; give a "
            "classifier with num_labels 1"
        )
    return ClassifierReward(loaded)


def load_openassistant(spec: ModelSpec, dtype: str, context: Context) -> OpenAssistantReward:
    """Load the layout of `OpenAssistant/oasst-rm-*-pythia-*`, without remote code.

    Raises ModelError where weights are missing or the pooling is unknown.
    """
    from transformers import GPTNeoXConfig, GPTNeoXModel

    pooling = spec.config.get("pooling", "last")
    if pooling not in _POOLINGS:
        raise ModelError(
            f"model '{spec.name}' pools by '{pooling}'; known are {' and '.join(_POOLINGS)}"
        )
    require_safetensors(spec)
    device = torch_device(context)
    fields = {k: v for k, v in spec.config.items() if k not in ("model_type", "architectures")}
    weights = _read_weights(spec)
    trunk_weights = {
        name.removeprefix("gpt_neox."): weights.pop(name)
        for name in list(weights)
        if name.startswith("gpt_neox.")
    }
    refuse_missing(spec, {"out_proj.weight", "out_proj.bias"} - weights.keys(), "a reward model")
    with quiet():
        trunk, info = GPTNeoXModel.from_pretrained(
            None,
            config=GPTNeoXConfig.from_dict(fields),
            state_dict=trunk_weights,
            dtype=torch_dtype(dtype),
            output_loading_info=True,
        )
    refuse_missing(spec, info["missing_keys"], "a reward model")
    out_proj = torch.nn.Linear(trunk.config.hidden_size, 1, dtype=torch_dtype(dtype))
    out_proj.load_state_dict({k.removeprefix("out_proj."): v for k, v in weights.items()})
    model = OpenAssistantReward(trunk, out_proj, pooling)
    return model.eval().requires_grad_(False).to(device)


def _read_weights(spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Read all safetensors files of a folder, sharded or not."""
    from safetensors.torch import load_file

    index = spec.folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    weights: dict[str, torch.Tensor] = {}
    for name in sorted(names):
        path = spec.folder / name
        if not path.is_file():
            raise ModelError(f"model '{spec.name}' has no {name}; get its safetensors weights")
        weights |= load_file(path)
    return weights
