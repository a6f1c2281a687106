"""Inference loss on references: InstructMining's measure of a model (arXiv 2307.06290, §2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.contracts import Context, Evaluator, execution
from instructmine.errors import UsageError
from instructmine.evals import EvalSet, SetLoss
from instructmine.modelref import ModelRef


@dataclass(frozen=True, kw_only=True)
class Loss(Evaluator):
    """Mean token cross-entropy of the references given their prompts, in nats; lower is better.

    A reference's loss is the mean over its tokens, a prompt's the mean over its references, a
    set's the mean over its prompts, so that long references do not outweigh the others.
    """

    version = 1

    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = execution(None)

    def evaluate(
        self, model: ModelRef, sets: Sequence[EvalSet], *, context: Context
    ) -> tuple[SetLoss, ...]:
        """Return the loss on every set; a loss that is no finite number is NaN.

        Raises UsageError for a reference that the model's template or limit cannot take.
        """
        from instructmine.models.causal_lm import CausalLM

        opened = CausalLM.load(
            model, dtype=self.dtype, max_length=self.max_length, batch_tokens=self.batch_tokens,
            context=context,
        )  # fmt: skip
        return tuple(self._one(opened, one) for one in sets)

    def _one(self, model: Any, one: EvalSet) -> SetLoss:
        turns = [turn for item in one.items for turn in item.turns]
        owner = np.repeat(np.arange(len(one)), [len(item.references) for item in one.items])
        found = model.response_loss(turns)
        for index, reason in found.reasons.items():
            if "not a number" not in reason:
                place = one.items[owner[index]].place
                raise UsageError(f"eval set '{one.name}', {place}: {reason}; mend or drop the row")
        sums = np.bincount(owner, weights=found.conditioned, minlength=len(one))
        cut = {int(owner[index]) for index in found.truncated}
        return SetLoss(
            tuple((sums / np.bincount(owner)).tolist()),
            tuple(np.bincount(owner, weights=found.tokens).astype(int).tolist()),
            len(cut),
        )
