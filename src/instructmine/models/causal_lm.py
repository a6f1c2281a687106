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
from instructmine.models.batching import BatchRunner, right_pad, workers_for
from instructmine.models.head import WantedLogits
from instructmine.models.loading import load_model
from instructmine.models.spec import ModelSpec, StartToken
from instructmine.models.templates import Renderer
from instructmine.models.tokens import TextEncoder, TokenSpan, encode_turns, load_tokenizer
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
        self.start = start_id(tokenizer, spec)
        self.max_length = spec.max_length(max_length)
        self.runner = BatchRunner(model.device, batch_tokens, workers_for(model, model.device))
        self.logits = WantedLogits(model, spec.name)

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

        A turn that the template cannot render gets an empty span and a reason.
        """
        spans, reasons = encode_turns(self.renderer, self.encoder, turns, to_response_end=True)
        for index, span in enumerate(spans):
            if index in reasons:
                continue
            # A template writes its own BOS, or none on purpose; plain text is given one.
            if self.renderer.template.origin == "plain" or span.start == 0:
                span = span if span.ids[:1] == [self.start] else span.behind(self.start)
            spans[index] = span.fit(self.max_length, keep=1)
        return spans, reasons

    def span_loss(
        self, spans: Sequence[TokenSpan]
    ) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
        """Return the (n,) mean loss over each span's response, and why some are NaN."""

        def forward(batch: list[int]) -> npt.NDArray[np.float64]:
            return self._batch_loss([spans[index] for index in batch])

        found, reasons = self.runner.run([len(span) for span in spans], forward)
        return found[:, 0], reasons

    def _batch_loss(self, spans: Sequence[TokenSpan]) -> npt.NDArray[np.float64]:
        counts = np.array([len(span.response) for span in spans])
        cells = int(counts.sum()) * int(self.model.config.get_text_config().vocab_size)
        if cells > _LOGIT_CELLS and len(spans) > 1:  # long responses, large vocabulary: in parts
            half = len(spans) // 2
            return np.vstack([self._batch_loss(spans[:half]), self._batch_loss(spans[half:])])
        ids, _ = right_pad([span.ids for span in spans], self.start, self.model.device)
        rows = np.repeat(np.arange(len(spans)), counts)
        columns = np.concatenate([np.arange(span.start - 1, span.end - 1) for span in spans])
        targets = np.concatenate([np.asarray(span.response) for span in spans])
        logits = self.logits(ids, torch.as_tensor(rows), torch.as_tensor(columns))
        loss = token_loss(logits, torch.as_tensor(targets, device=logits.device))
        sums = np.bincount(rows, weights=loss.cpu().double().numpy(), minlength=len(spans))
        return (sums / counts)[:, None]


def require_causal(spec: ModelSpec) -> None:
    """Raise ModelError for a folder that was saved as something else than a causal LM."""
    if spec.architectures and not spec.is_causal_lm:
        raise ModelError(
            f"model '{spec.name}' is a {spec.architectures[0]}, not a causal LM; give a folder "
            "that holds one"
        )


def start_id(tokenizer: Any, spec: ModelSpec) -> int:
    """Return the id of the token that texts start from. Raises ModelError where it has none."""
    start: StartToken = spec.start_token()
    if isinstance(start.token, int):
        return start.token
    found = tokenizer.convert_tokens_to_ids(start.token)
    if found is None:
        raise ModelError(
            f"the tokenizer of model '{spec.name}' does not know its own {start.kind} token "
            f"'{start.token}'; get the folder again"
        )
    return int(found)


def token_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the (n,) negative log-likelihood of targets, computed in float32."""
    step = max(1, _SOFTMAX_CELLS // logits.shape[-1])
    parts = [
        torch.nn.functional.cross_entropy(part.float(), wanted, reduction="none")
        for part, wanted in zip(logits.split(step), targets.split(step), strict=True)
    ]
    return torch.cat(parts)
