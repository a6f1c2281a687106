"""Negative log-likelihood of responses under a causal language model.

One tokenisation of the whole conversation gives the ids of prompt and response; the conditioned
and the unconditioned pass run over the same response ids, and the output head is applied to the
positions that predict them alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.models.batching import BatchRunner, right_pad
from instructmine.models.loading import load_model
from instructmine.models.spec import ModelSpec, StartToken
from instructmine.models.templates import Renderer, TemplateRefusalError
from instructmine.models.tokens import TextEncoder, TokenSpan, load_tokenizer
from instructmine.pool import Turn

_LOGIT_CELLS = 2**28  # logits of one batch: 1 GiB in float32, whatever the vocabulary
_SOFTMAX_CELLS = 2**22  # logits normalised at a time, so that the copy stays in the caches


@dataclass(frozen=True)
class ResponseLoss:
    """Loss of n responses, NaN with a reason where there is none.

    conditioned, unconditioned: (n,) mean negative log-likelihood in nats per token, given the
    prompt and given the start token alone; NaN where that pass was not asked for.
    tokens: (n,) response tokens that were read. truncated: texts that were cut.
    """

    conditioned: npt.NDArray[np.float64]
    unconditioned: npt.NDArray[np.float64]
    tokens: npt.NDArray[np.int64]
    reasons: dict[int, str]
    truncated: frozenset[int]


class CausalLM:
    """A causal language model that reads responses."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: ModelSpec,
        max_length: int | None = None,
        batch_tokens: int | None = None,
    ) -> None:
        self.model = model
        self.spec = spec
        self.renderer = Renderer(spec.template(), tokenizer.special_tokens_map)
        self.encoder = TextEncoder(tokenizer)
        self.start = _token_id(tokenizer, spec)
        self.max_length = spec.max_length(max_length)
        self.runner = BatchRunner(model.device, batch_tokens)
        self._wanted: tuple[torch.Tensor, torch.Tensor] | None = None
        head = model.get_output_embeddings()
        if head is None:
            raise ModelError(f"model '{spec.name}' has no output head; give a causal LM")
        head.register_forward_pre_hook(self._only_wanted)

    @classmethod
    def load(
        cls,
        model: ModelRef,
        *,
        dtype: str = "float32",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        context: Context | None = None,
    ) -> CausalLM:
        """Load a model by name. Raises ModelError where it is no causal LM."""
        from transformers import AutoModelForCausalLM

        spec = ModelSpec.read(model)
        require_causal(spec)
        loaded = load_model(
            AutoModelForCausalLM,
            spec,
            dtype=dtype,
            context=context or Context(),
            purpose="a causal LM",
        )
        return cls(loaded, load_tokenizer(spec), spec, max_length, batch_tokens)

    def response_loss(
        self, turns: Sequence[Turn], *, conditioned: bool = True, unconditioned: bool = False
    ) -> ResponseLoss:
        """Compute the loss of each turn's response, in one or both ways."""
        spans, reasons = self.spans(turns)
        scorable = [index for index in range(len(turns)) if index not in reasons]
        jobs: list[tuple[int, int, TokenSpan]] = []  # way, turn, text
        for index in scorable:
            if conditioned:
                jobs.append((0, index, spans[index]))
            if unconditioned:
                response = spans[index].response
                jobs.append((1, index, TokenSpan([self.start, *response], 1, len(response) + 1)))
        # Both ways share batches: more texts of like length, less padding.
        found, failed = self.span_loss([job[2] for job in jobs])
        losses = np.full((2, len(turns)), np.nan)
        for position, (way, index, _) in enumerate(jobs):
            losses[way, index] = found[position]
            if position in failed:
                reasons.setdefault(index, failed[position])
        tokens = np.array([len(span.response) for span in spans], dtype=np.int64)
        cut = frozenset(index for index in scorable if spans[index].cut)
        return ResponseLoss(losses[0], losses[1], tokens, reasons, cut)

    def spans(self, turns: Sequence[Turn]) -> tuple[list[TokenSpan], dict[int, str]]:
        """Tokenise turns up to the end of their response, cut to the model's limit.

        Where the template cannot render a turn its span is empty and there is a reason.
        """
        reasons: dict[int, str] = {}
        texts = []
        for index, turn in enumerate(turns):
            try:
                rendered = self.renderer.turn(turn.history, turn.response)
            except TemplateRefusalError as error:
                reasons[index] = f"the chat template refuses it: {error}"
                rendered = self.renderer.turn((), "") if False else None
            texts.append(rendered)
        readable = [index for index, text in enumerate(texts) if text is not None]
        encoded = self.encoder.spans([texts[index] for index in readable])
        spans = [TokenSpan([], 0, 0)] * len(turns)
        for index, span in zip(readable, encoded, strict=True):
            spans[index] = self._fitted(span)
            if not spans[index].response:
                reasons[index] = "the response has no tokens"
        return spans, reasons
