"""UniEval's questions about dialogue responses (arXiv 2210.07197), as InstructMining asks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from instructmine.contracts import Column, Context, Scored, execution
from instructmine.modelref import ModelRef
from instructmine.pool import Turn
from instructmine.turns import TurnIndicator, TurnScorer

if TYPE_CHECKING:
    from instructmine.models.seq2seq import YesNoModel
    from instructmine.models.templates import Rendered

TRUNCATION = "history-left-response-right"
QUESTIONS = {
    "naturalness": "question: Is this a natural response in the dialogue? </s> response: ",
    "coherence": (
        "question: Is this a coherent response given the dialogue history? </s> response: "
    ),
    "understandability": (
        "question: Is this an understandable response in the dialogue? </s> response: "
    ),
}
_HISTORY = " </s> dialogue history: "


@dataclass(frozen=True, kw_only=True)
class Unieval(TurnIndicator):
    """Probability that a response is natural, coherent, understandable; higher is better.

    A T5 is asked each question in UniEval's own words; the value is P("Yes") / (P("Yes") +
    P("No")) at the first decoder step. Only `coherence` reads the history: the contents of all
    messages before the response, one per line.

    model: a T5 trained on these questions. max_length: tokens of an input, 1024 in the paper.
    Not covered: facts, and long or technical responses, which no dialogue corpus holds.
    """

    version = 1
    columns = tuple(Column(name, "higher", "probability") for name in QUESTIONS)

    model: ModelRef = ModelRef("starter:unieval")
    dtype: str = "float32"
    max_length: int = 1024
    batch_tokens: int | None = execution(None)
    gpus: float = execution(1.0)

    def identity(self) -> dict[str, Any]:
        """The fields and the truncation rule; the questions are part of the version."""
        return {**super().identity(), "truncation": TRUNCATION}

    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Load the model once for all columns. Raises ModelError where it is no T5."""
        from instructmine.models.seq2seq import YesNoModel

        model = YesNoModel.load(
            self.model,
            dtype=self.dtype,
            max_length=self.max_length,
            batch_tokens=self.batch_tokens,
            context=context,
        )
        return _UnievalScorer(model, columns)


class _UnievalScorer(TurnScorer):
    def __init__(self, model: YesNoModel, columns: Sequence[str]) -> None:
        self.model = model
        self.columns = columns

    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        # All questions share batches: more texts of like length, less padding.
        texts = [question_text(name, turn) for name in self.columns for turn in turns]
        answers = self.model.answers(texts)
        n = len(turns)
        values = {
            name: answers.values[position * n : (position + 1) * n]
            for position, name in enumerate(self.columns)
        }
        reasons: dict[int, str] = {}
        for position, reason in sorted(answers.reasons.items()):
            reasons.setdefault(position % n, reason)
        return Scored(values, reasons, frozenset(position % n for position in answers.truncated))


def question_text(name: str, turn: Turn) -> Rendered:
    """Return the literal input of a question, with the response's place in it."""
    from instructmine.models.templates import Rendered

    history = ""
    if name == "coherence":
        history = _HISTORY + "\n".join(message.content for message in turn.history)
    return Rendered(QUESTIONS[name], turn.response, history)
