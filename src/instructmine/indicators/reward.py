"""Reward of responses, by a reward model (arXiv 2307.06290)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instructmine.contracts import Column, Context, Scored, execution
from instructmine.modelref import ModelRef
from instructmine.models.spec import TRUNCATION, ModelSpec, template_identity
from instructmine.pool import Turn
from instructmine.turns import TurnIndicator, TurnScorer

if TYPE_CHECKING:
    from instructmine.models.reward import RewardModel


@dataclass(frozen=True, kw_only=True)
class Reward(TurnIndicator):
    """What a reward model says of a response given its history; higher is better.

    model: a one-logit sequence classifier with a chat template, or an OpenAssistant
    `gpt_neox_reward_model`. Rewards of two models share no scale.
    max_length: tokens of the whole text; the model's own limit by default.
    Not covered: truth. Reward models like length and confidence.
    """

    version = 1
    columns = (Column("reward", "higher", "the model's own"),)

    model: ModelRef = ModelRef("starter:reward")
    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = execution(None)
    gpus: float = execution(1.0)

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force and the template."""
        spec = ModelSpec.read(self.model)
        return {
            **super().identity(),
            "max_length": spec.max_length(self.max_length),
            "template": template_identity(spec.template(default=None)),
            "truncation": TRUNCATION,
        }

    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Load the reward model. Raises ModelError where it is none."""
        from instructmine.models.reward import RewardModel

        model = RewardModel.load(
            self.model,
            dtype=self.dtype,
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            context=context,
        )
        return _RewardScorer(model, columns)


class _RewardScorer(TurnScorer):
    def __init__(self, model: RewardModel, columns: Sequence[str]) -> None:
        self.model = model
        self.columns = columns

    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        rewards = self.model.rewards(turns)
        return Scored({"reward": rewards.values}, rewards.reasons, rewards.truncated)
