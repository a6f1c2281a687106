"""How likely a base model is to answer an instruction worse than the pool does (IterSelectTune)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from instructmine.contracts import Batch, Column, Context, Indicator, Scored, Scorer, execution
from instructmine.errors import UsageError
from instructmine.modelref import ModelRef
from instructmine.models.spec import ModelSpec

if TYPE_CHECKING:
    from instructmine.models.classifier import Classifier


@dataclass(frozen=True, kw_only=True)
class Hardness(Indicator):
    """Probability that an instruction is hard: M(x) of IterSelectTune (arXiv 2410.13464).

    Hard is an instruction that the base model answers worse than the pool's own response, by a
    judge; higher is held to be better to train on. The prompt is read, from its beginning as far
    as the encoder allows (longer ones are counted), and nothing of the response.

    model: a sequence classifier of two classes, of which the second is hard; it knows one base
    model and one judge.
    max_length: tokens of the prompt; the classifier's own limit by default.
    Not covered: whether the response is right. A wrong one may have won too.
    """

    version = 1
    columns = (Column("hardness", "higher", "probability"),)

    model: ModelRef | None = None
    max_length: int | None = None
    batch_tokens: int | None = execution(None)
    gpus: float = execution(1.0)

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force and the truncation rule."""
        limit = ModelSpec.read(self._model()).encoder_length(self.max_length)
        return {**super().identity(), "max_length": limit, "truncation": "prompt-right"}

    def _model(self) -> ModelRef:
        if self.model is None:
            raise UsageError(
                "hardness needs a classifier of hard prompts; pass --set hardness.model=FOLDER"
            )
        return self.model

    def open(self, context: Context, columns: Sequence[str]) -> Scorer:
        """Load the classifier. Raises ModelError where the folder holds none."""
        from instructmine.models.classifier import Classifier

        loaded = Classifier.load(
            self._model(),
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            context=context,
        )
        return _HardnessScorer(loaded)


class _HardnessScorer:
    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def score(self, batch: Batch) -> Scored:
        prompts = [example.prompt for example in batch.examples]
        known = [position for position, text in enumerate(prompts) if text.strip()]
        values = np.full(len(prompts), np.nan)
        reasons = {p: "empty prompt" for p, text in enumerate(prompts) if not text.strip()}
        found, failed, cut = self.classifier.probabilities([prompts[p] for p in known])
        values[known] = found
        reasons |= {known[p]: why for p, why in failed.items()}
        return Scored({"hardness": values}, reasons, frozenset(known[p] for p in cut))
