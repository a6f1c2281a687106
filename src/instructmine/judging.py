"""Puts questions to a judge and keeps every verdict: cached by content, bounded, resumable.

Everything that needs verdicts goes through here, whatever it makes of them. A verdict belongs to
(judge recipe, question); the same question is never paid for twice, whoever asks it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from instructmine.contracts import Context, Judge, Judging, Progress
from instructmine.errors import UsageError
from instructmine.journal import Journal
from instructmine.ledger import Ledger
from instructmine.recipes import Recipe
from instructmine.spending import Limits, Meter
from instructmine.verdicts import LIMITED, UNANSWERED, PairVerdict, Question, Usage, Verdict

FOLDER = "judgments"


@dataclass(frozen=True)
class Estimated:
    """What questions would take: how many there are, how many are known, and the rest's usage."""

    questions: int
    known: int
    usage: Usage
    cost: float | None

    def __add__(self, other: Estimated) -> Estimated:
        """Add up."""
        cost = None
        if self.cost is not None and other.cost is not None:
            cost = self.cost + other.cost
        return Estimated(
            self.questions + other.questions,
            self.known + other.known,
            self.usage + other.usage,
            cost,
        )


@dataclass
class Bench:
    """One judge at work, with its journal and its meter.

    meter: counts what the verdicts asked for here took, also those paid for in earlier runs, so
    that limits hold across resumes.
    """

    judge: Judge
    workdir: Path
    context: Context = field(default_factory=Context)
    limits: Limits = field(default_factory=Limits)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """Open the journal; the judge itself is opened when a verdict is missing."""
        recipe = Recipe.of(type(self.judge).__name__.lower(), self.judge.identity())
        self.journal = Journal(self.workdir, FOLDER, recipe)
        self.meter = Meter(self.limits)
        self._ledger = Ledger(self.journal)
        self._unanswered: dict[str, Verdict] = {}  # to be asked again by the next run
        self._opened: Judging | None = None

    def verdicts(self, questions: Sequence[Question]) -> list[Verdict | None]:
        """Return one verdict per question, in order; None where a limit kept it from being asked.

        Raises UsageError where the judge cannot do what is asked.
        """
        if any(one.second is None for one in questions) and not self.judge.grades:
            name = type(self.judge).__name__.lower()
            raise UsageError(f"judge '{name}' compares and gives no grades; choose another")
        keys = [one.key for one in questions]
        self._ledger.recall(keys, self.meter)
        found: list[Verdict | None] = [None] * len(questions)
        total, done = len(questions), 0
        for position, record in self.journal.resume(zip(keys, questions, strict=True), self._ask):
            found[position] = None if record is None else Verdict.from_json(record)
            done += record is not None
            if self.progress is not None:
                self.progress("verdicts", done, total)
        for position, key in enumerate(keys):
            if found[position] is None:
                found[position] = self._unanswered.get(key)
        return found

    def compare(self, questions: Sequence[Question]) -> list[PairVerdict | None]:
        """Return one verdict per pair, both orders joined; None where an order was not asked.

        A judge whom order cannot sway is asked once.
        """
        if self.judge.order_free:
            found = self.verdicts(questions)
            return [None if one is None else PairVerdict(one) for one in found]
        found = self.verdicts(self._orders(questions))
        return [
            None if forward is None or backward is None else PairVerdict(forward, backward)
            for forward, backward in zip(found[::2], found[1::2], strict=True)
        ]

    def estimate(self, questions: Sequence[Question], *, compare: bool = True) -> Estimated:
        """Estimate what is missing; loads nothing and asks nobody."""
        if compare:
            questions = self._orders(questions)
        missing = {one.key: one for one in questions if one.key not in self.journal}
        usage = sum((self.judge.estimate(one) for one in missing.values()), Usage())
        known = len(questions) - sum(one.key in missing for one in questions)
        return Estimated(len(questions), known, usage, self.limits.cost(usage))

    def recall(self, pairs: Sequence[Question]) -> None:
        """Count what is known of pairs, without asking, so that the limits hold for the rest."""
        self._ledger.recall([one.key for one in self._orders(pairs)], self.meter)

    def _orders(self, pairs: Sequence[Question]) -> Sequence[Question]:
        """Return what is asked about pairs; both orders of one stand together.

        So a limit leaves few pairs half judged.
        """
        if self.judge.order_free:
            return pairs
        return [order for one in pairs for order in (one, one.swapped())]

    def _ask(self, questions: Sequence[Question]) -> Iterator[tuple[int, dict[str, object]]]:
        if self._opened is None:
            self._opened = self.judge.open(self.context, self.meter)
        for index, verdict in self._opened.judge(questions):
            key = questions[index].key
            if verdict.problem in (UNANSWERED, LIMITED):
                self._ledger.lost(key, verdict.usage)
                if verdict.problem == UNANSWERED:
                    self._unanswered[key] = verdict
                continue
            self._ledger.paid(key)
            yield index, verdict.to_json()
