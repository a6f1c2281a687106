"""A reward model as the judge: the answer with the higher reward wins."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instructmine.contracts import Context, Judge, execution
from instructmine.modelref import ModelRef
from instructmine.models.spec import TRUNCATION, ModelSpec, template_identity
from instructmine.pool import Turn
from instructmine.spending import Meter
from instructmine.verdicts import Outcome, Question, Usage, Verdict

if TYPE_CHECKING:
    from instructmine.models.reward import RewardModel


@dataclass(frozen=True, kw_only=True)
class Reward(Judge):
    """Weighs each answer by itself, so order cannot sway it; gives no grades.

    model: any reward model that the indicator `reward` reads. margin: rewards closer than this
    are a tie; its unit is the model's own. References are not read.
    Not covered: truth. Reward models like length and confidence.
    """

    version = 1
    order_free = True
    grades = False

    model: ModelRef = ModelRef("starter:reward")
    margin: float = 0.0
    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = execution(None)

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force and the template."""
        spec = ModelSpec.read(self.model)
        return {
            **super().identity(),
            "max_length": spec.max_length(self.max_length),
            "template": template_identity(spec.template(default=None)),
            "truncation": TRUNCATION,
        }

    def estimate(self, question: Question) -> Usage:
        """Count one request, which costs nothing but time."""
        return Usage(1)

    def open(self, context: Context, meter: Meter) -> _RewardJudging:
        """Load the reward model. Raises ModelError where it is none."""
        from instructmine.models.reward import RewardModel

        model = RewardModel.load(
            self.model, dtype=self.dtype, max_length=self.max_length,
            batch_tokens=self.batch_tokens, context=context,
        )  # fmt: skip
        return _RewardJudging(model, self.margin, meter)


class _RewardJudging:
    def __init__(self, model: RewardModel, margin: float, meter: Meter) -> None:
        self.model = model
        self.margin = margin
        self.meter = meter

    def judge(self, questions: Sequence[Question]) -> Iterator[tuple[int, Verdict]]:
        asked = [index for index in range(len(questions)) if self.meter.reserve(Usage(1))]
        # Every text is read once, so that equal answers tie to the last bit.
        turns: dict[Turn, int] = {}
        for index in asked:
            for turn in _sides(questions[index]):
                turns.setdefault(turn, len(turns))
        found = self.model.rewards(list(turns))
        for index in asked:
            self.meter.settle(Usage(1), Usage(1))
            places = [turns[turn] for turn in _sides(questions[index])]
            why = next((found.reasons[p] for p in places if p in found.reasons), "")
            yield index, self._verdict(tuple(float(found.values[p]) for p in places), why)

    def _verdict(self, scores: tuple[float, ...], why: str) -> Verdict:
        if not all(map(math.isfinite, scores)):  # an empty answer, for instance
            known = tuple(value for value in scores if math.isfinite(value))
            return Verdict(problem="malformed", text=why, scores=known, usage=Usage(1))
        gap = scores[0] - scores[1]
        outcome: Outcome = "tie" if abs(gap) <= self.margin else "first" if gap > 0 else "second"
        return Verdict(outcome, scores=scores, usage=Usage(1))


def _sides(question: Question) -> tuple[Turn, Turn]:
    if question.second is None:
        raise ValueError("a reward model gives no grades")
    return question.first, question.second
