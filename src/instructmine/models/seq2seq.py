"""Yes-or-no questions to a T5, as UniEval asks them (arXiv 2210.07197).

The answer is P("Yes") / (P("Yes") + P("No")) at the first decoder step. The output head is
reduced to the rows of those two tokens, and the decoder runs one step: nothing else is needed.
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
from instructmine.models.loading import load_model
from instructmine.models.spec import ModelSpec
from instructmine.models.templates import Rendered
from instructmine.models.tokens import TextEncoder, TokenSpan, load_tokenizer

_FAMILY = ("t5", "mt5", "umt5", "longt5")


@dataclass(frozen=True)
class Answers:
    """values: (n,) probability of "Yes", NaN with a reason. truncated: texts that were cut."""

    values: npt.NDArray[np.float64]
    reasons: dict[int, str]
    truncated: frozenset[int]


class YesNoModel:
    """A T5 that answers questions with "Yes" or "No"."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: ModelSpec,
        max_length: int = 1024,
        batch_tokens: int | None = None,
    ) -> None:
        self.spec = spec
        self.encoder = TextEncoder(tokenizer)
        self.max_length = max_length
        self.runner = BatchRunner(model.device, batch_tokens, workers_for(model, model.device))
        self.model = _two_row_head(model, _first_ids(tokenizer, spec))
        self._pad = int(model.config.pad_token_id or 0)
        start = model.config.decoder_start_token_id
        self._start = self._pad if start is None else int(start)

    @classmethod
    def load(
        cls,
        model: ModelRef,
        *,
        dtype: str = "float32",
        max_length: int = 1024,
        batch_tokens: int | None = None,
        context: Context | None = None,
    ) -> YesNoModel:
        """Load a model by name. Raises ModelError where it is no T5 with a language head."""
        from transformers import AutoModelForSeq2SeqLM

        spec = ModelSpec.read(model)
        if spec.model_type not in _FAMILY:
            raise ModelError(
                f"model '{spec.name}' is a {spec.model_type or 'model of no known type'}, and "
                "UniEval's questions go to a T5; give a T5 trained on them"
            )
        loaded = load_model(
            AutoModelForSeq2SeqLM,
            spec,
            dtype=dtype,
            context=context or Context(),
            purpose="a sequence-to-sequence model",
        )
        return cls(loaded, load_tokenizer(spec), spec, max_length, batch_tokens)

    def answers(self, texts: Sequence[Rendered]) -> Answers:
        """Answer the question that each text asks about its response.

        Too long a text loses what stands behind the response (a history) from its left, then
        the end of the response.
        """
        spans = [self._fit(span) for span in self.encoder.spans(texts, special=True)]

        def forward(batch: list[int]) -> npt.NDArray[np.float64]:
            ids, mask = right_pad([spans[i].ids for i in batch], self._pad, self.runner.device)
            first = torch.full((len(batch), 1), self._start, device=ids.device)
            output = self.model(
                input_ids=ids, attention_mask=mask, decoder_input_ids=first, use_cache=False
            )
            yes, no = output.logits[:, 0].cpu().double().unbind(1)
            return torch.sigmoid(yes - no).numpy()[:, None]

        found, reasons = self.runner.run([len(span) for span in spans], forward)
        cut = frozenset(index for index, span in enumerate(spans) if span.cut)
        return Answers(found[:, 0], reasons, cut)

    def _fit(self, span: TokenSpan) -> TokenSpan:
        over = len(span.ids) - self.max_length
        if over <= 0:
            return span
        final = 1  # the tokenizer's end of sequence, which the model must see
        history = max(0, len(span.ids) - final - span.end)
        from_history = min(over, max(0, history))
        end = span.end - (over - from_history)
        ids = span.ids[:end] + span.ids[span.end + from_history :]
        return TokenSpan(ids, span.start, end, cut=True)


def _two_row_head(model: Any, rows: tuple[int, int]) -> Any:
    """Reduce the output head to two tokens; what the model does in front of it stays."""
    head = model.get_output_embeddings()
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise ModelError("the model's output head is no plain linear layer; give a T5")
    weight = head.weight[list(rows)].detach().clone()
    small = torch.nn.Linear(weight.shape[1], 2, bias=False, dtype=weight.dtype)
    small.weight = torch.nn.Parameter(weight, requires_grad=False)
    model.lm_head = small.to(model.device)
    return model


def _first_ids(tokenizer: Any, spec: ModelSpec) -> tuple[int, int]:
    """Return the first token ids of "Yes" and "No"."""
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in ("Yes", "No")]
    unknown = tokenizer.unk_token_id
    if not all(ids) or ids[0][0] == ids[1][0] or unknown in (ids[0][0], ids[1][0]):
        raise ModelError(
            f"the tokenizer of model '{spec.name}' has no tokens that tell Yes from No; "
            "give a model trained on UniEval's questions"
        )
    return ids[0][0], ids[1][0]
