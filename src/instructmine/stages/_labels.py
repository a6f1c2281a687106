"""Labels rows hard or easy: the base model answers, a judge compares with the pool's response."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from instructmine.answering import Answers
from instructmine.errors import InstructmineError, UsageError
from instructmine.judging import Bench
from instructmine.pool import Turn
from instructmine.stages._rounds import EASY, HARD, Labels
from instructmine.verdicts import UNANSWERED, PairVerdict, Question

Ties = Literal["easy", "hard", "none"]
TIES: tuple[Ties, ...] = ("easy", "hard", "none")
Turns = Callable[[npt.NDArray[np.int64]], Sequence[Turn]]  # rows → the last turn of each


@dataclass
class Labeller:
    """Says of rows whether the pool's response beats the base model's answer (hard) or not.

    turns: gives the last assistant turn of rows, in order. ties: what a tie counts as; "none"
    leaves the row without a label.
    """

    turns: Turns
    answers: Answers
    bench: Bench
    ties: Ties = "easy"

    def __call__(self, rows: npt.NDArray[np.int64]) -> Labels:
        """Return `hard`, `easy`, or why there is no label, per row.

        An empty answer has lost without a judge. Raises InstructmineError where an answer or a
        verdict could not be had by now: what there is was kept.
        """
        self.recall(rows)
        turns = self.turns(rows)
        said = self.answers.all([one.history for one in turns])
        labels = [one.problem or ("" if one.text.strip() else HARD) for one in said]
        empty = labels.count(HARD)
        asked = [place for place, label in enumerate(labels) if not label]
        questions = [
            Question.pair(turns[p].history, turns[p].response, said[p].text) for p in asked
        ]
        found = self.bench.compare(questions)
        failed = [one.problem for one in said if one.problem.startswith(UNANSWERED)]
        failed += [words(one) for one in found if one is None or one.problem == UNANSWERED]
        if failed:
            missing = f"{len(failed)} of {len(rows)} rows could not be labelled"
            if self.bench.meter.refused:
                raise InstructmineError(
                    f"{missing}, as a limit was reached; what there is was kept: raise "
                    "--max-requests or --max-cost and run again"
                )
            raise InstructmineError(
                f"{missing} ({failed[0]}); what there is was kept: run the same command again"
            )
        for place, verdict in zip(asked, found, strict=True):
            assert verdict is not None
            labels[place] = self._label(verdict)
        both = [one.votes for one in found if one is not None and len(one.votes) == 2]
        agreed = sum(first == second for first, second in both)
        return Labels(tuple(labels), empty, len(both), agreed)

    def recall(self, rows: npt.NDArray[np.int64]) -> None:
        """Count what rows of an earlier run took, so that the limits hold for the rest."""
        turns = self.turns(rows)
        self.answers.recall([one.history for one in turns])
        said = [self.answers.known(one.history) for one in turns]
        self.bench.recall(
            [
                Question.pair(turn.history, turn.response, one.text)
                for turn, one in zip(turns, said, strict=True)
                if one is not None
            ]
        )

    def _label(self, verdict: PairVerdict) -> str:
        if verdict.result is None:
            return verdict.problem
        if verdict.result == "tie":
            return {"easy": EASY, "hard": HARD, "none": "a tie"}[self.ties]
        return HARD if verdict.result == "win" else EASY


def words(verdict: PairVerdict | None) -> str:
    """Return what kept a pair from being judged, as the server said it."""
    if verdict is None:
        return "not asked"
    orders = (verdict.forward, verdict.backward)
    return next(f"{UNANSWERED}: {one.text}" for one in orders if one and one.problem == UNANSWERED)


def check_ties(name: str) -> Ties:
    """Return what a tie counts as. Raises UsageError for an unknown name."""
    for known in TIES:
        if name == known:
            return known
    raise UsageError(f"a tie counts as {', '.join(TIES)}, not as '{name}'")
