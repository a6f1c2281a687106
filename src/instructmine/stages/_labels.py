"""Labels rows hard or easy: the base model answers, a judge compares with the pool's response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from instructmine.answering import Answers
from instructmine.errors import InstructmineError, UsageError
from instructmine.judging import Bench
from instructmine.pool import Turn
from instructmine.stages._rounds import EASY, HARD
from instructmine.verdicts import PairVerdict, Question

Ties = Literal["easy", "hard", "none"]
TIES: tuple[Ties, ...] = ("easy", "hard", "none")


@dataclass
class Labeller:
    """Says of rows whether the pool's response beats the base model's answer (hard) or not.

    turns: rows → the last assistant turn of each, in order. ties: what a tie counts as; "none"
    leaves the row without a label. verdicts: what was said so far, for agreement and counts.
    """

    turns: Callable[[npt.NDArray[np.int64]], Sequence[Turn]]
    answers: Answers
    bench: Bench
    ties: Ties = "easy"
    verdicts: list[PairVerdict] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def __call__(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Return `hard`, `easy`, or why there is no label, per row.

        An empty answer has lost without a judge. Raises InstructmineError where a limit keeps
        verdicts from being asked for: what there is was kept.
        """
        turns = self.turns(rows)
        said = self.answers.all([one.history for one in turns])
        labels = [HARD if not one.text.strip() else "" for one in said]
        labels = [
            one.problem if one.problem else label for one, label in zip(said, labels, strict=True)
        ]
        asked = [place for place, label in enumerate(labels) if not label]
        questions = [
            Question.pair(turns[p].history, turns[p].response, said[p].text) for p in asked
        ]
        found = self.bench.compare(questions)
        missing = sum(one is None for one in found)
        if missing or any(one.problem.startswith("unanswered") for one in said):
            raise InstructmineError(
                f"a limit was reached with {missing} of {len(rows)} rows of this round not "
                "judged; what there is was kept: raise --max-requests or --max-cost and run again"
            )
        for place, verdict in zip(asked, found, strict=True):
            assert verdict is not None
            labels[place] = self._label(verdict)
        self.problems.update(one for one in labels if one not in (HARD, EASY))
        return labels

    def _label(self, verdict: PairVerdict) -> str:
        self.verdicts.append(verdict)
        if verdict.result is None:
            return verdict.problem
        if verdict.result == "tie":
            return {"easy": EASY, "hard": HARD, "none": "a tie"}[self.ties]
        return HARD if verdict.result == "win" else EASY

    @property
    def agreement(self) -> float | None:
        """Share of pairs on which both orders say the same; None without two orders."""
        votes = [one.votes for one in self.verdicts if len(one.votes) == 2]
        return sum(a == b for a, b in votes) / len(votes) if votes else None


def check_ties(name: str) -> Ties:
    """Return what a tie counts as. Raises UsageError for an unknown name."""
    for known in TIES:
        if name == known:
            return known
    raise UsageError(f"a tie counts as {', '.join(TIES)}, not as '{name}'")
