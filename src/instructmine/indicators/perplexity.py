"""Perplexity of responses, and instruction-following difficulty, from one language model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from instructmine.contracts import Column, Context, Scored, execution
from instructmine.modelref import ModelRef
from instructmine.models.spec import TRUNCATION, ModelSpec, template_identity
from instructmine.pool import Turn
from instructmine.turns import TurnIndicator, TurnScorer

if TYPE_CHECKING:
    from instructmine.models.causal_lm import CausalLM


@dataclass(frozen=True, kw_only=True)
class Perplexity(TurnIndicator):
    """exp(mean loss per response token), and IFD, the ratio of it with and without the prompt.

    `perplexity` (arXiv 2307.06290): lower means more expected. `ifd` (arXiv 2308.12032):
    PPL(response | prompt) / PPL(response) over the same response tokens; high means that the
    prompt helps little, 1 or more that it does not help at all.

    model: the base model to be tuned, or a small one that stands in for it (arXiv 2402.00530).
    conditioned: whether `perplexity` is given the prompt; `ifd` needs both, always.
    max_length: tokens of prompt and response; the model's own limit by default.
    Not covered: a fluent wrong answer has a low perplexity.
    """

    version = 1
    columns = (Column("perplexity", "lower", "perplexity"), Column("ifd", "higher", "ratio"))

    model: ModelRef = ModelRef("starter:lm")
    conditioned: bool = True
    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = execution(None)
    gpus: float = execution(1.0)

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force, the template and the start token."""
        spec = ModelSpec.read(self.model)
        start = spec.start_token()
        return {
            **super().identity(),
            "max_length": spec.max_length(self.max_length),
            "template": template_identity(spec.template()),
            "truncation": TRUNCATION,
            "start": f"{start.kind}: {start.token}",
        }

    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Load the language model. Raises ModelError where it is none."""
        from instructmine.models.causal_lm import CausalLM

        model = CausalLM.load(
            self.model,
            dtype=self.dtype,
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            context=context,
        )
        return _PerplexityScorer(model, self.conditioned, columns)


class _PerplexityScorer(TurnScorer):
    def __init__(self, model: CausalLM, conditioned: bool, columns: Sequence[str]) -> None:
        self.model = model
        self.columns = columns
        self._conditioned = conditioned

    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        ifd = "ifd" in self.columns
        loss = self.model.response_loss(
            turns,
            conditioned=ifd or self._conditioned,
            unconditioned=ifd or not self._conditioned,
        )
        chosen = loss.conditioned if self._conditioned else loss.unconditioned
        with np.errstate(over="ignore"):
            values = {
                "perplexity": np.exp(chosen),
                "ifd": np.exp(loss.conditioned - loss.unconditioned),
            }
        reasons = dict(loss.reasons)
        for name in self.columns:
            for index in np.flatnonzero(np.isinf(values[name])):
                reasons.setdefault(int(index), f"{name} is too large for a number")
                values[name][index] = np.nan
        return Scored({name: values[name] for name in self.columns}, reasons, loss.truncated)
