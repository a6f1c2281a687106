"""The nouns of judging: prompts, answers, what a judge is asked, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from instructmine.identity import digest
from instructmine.pool import Message, Turn

Outcome = Literal["first", "second", "tie"]
Result = Literal["win", "loss", "tie"]
Problem = Literal["", "malformed", "refused", "too long", "unanswered", "a limit"]

UNANSWERED = "unanswered"  # a problem that passes: not kept, so the next run asks again
LIMITED = "a limit"  # kept it from being asked to the end: not kept either


@dataclass(frozen=True)
class Prompt:
    """What a model is to answer.

    history: everything said up to the first question. followups: what the user says after the
    model's own first answer, and so on. references: a good answer per turn; () where there is none.
    """

    history: tuple[Message, ...]
    followups: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    place: str = ""  # FILE:ROW; no part of its identity

    @property
    def turns(self) -> int:
        """How many answers it asks for."""
        return 1 + len(self.followups)


@dataclass(frozen=True)
class Usage:
    """What something took: requests sent (repeats counted), tokens in and out."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Add up."""
        return Usage(
            self.requests + other.requests,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
        )


@dataclass(frozen=True)
class Answer:
    """What a model answered.

    tokens: generated ones. finish: "stop", or "length" where the limit cut it.
    problem: why there is no text. usage: what a server asked for it.
    """

    text: str
    tokens: int = 0
    finish: str = "stop"
    problem: str = ""
    usage: Usage = Usage()

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return {**vars(self), "usage": dict(vars(self.usage))}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Answer:
        """Read what `to_json` gave."""
        plain = {name: data[name] for name in ("text", "tokens", "finish", "problem")}
        return cls(**plain, usage=Usage(**data.get("usage", {})))


@dataclass(frozen=True)
class Question:
    """What a judge is asked once: to compare two answers in this order, or to grade the first.

    first, second: an answer with everything said before it. The histories differ where each
    holds its model's own earlier answers. second: None asks for a grade.
    reference: a good answer that the judge may lean on.
    """

    first: Turn
    second: Turn | None = None
    reference: str = ""

    @property
    def key(self) -> str:
        """Digest of everything the judge sees, in its order."""
        turns = [self.first] if self.second is None else [self.first, self.second]
        seen = [[[[m.role, m.content] for m in one.history], one.response] for one in turns]
        return digest([seen, self.reference])

    def swapped(self) -> Question:
        """Return the same question with the answers in the other order."""
        if self.second is None:
            raise ValueError("a question for a grade has no order")
        return Question(self.second, self.first, self.reference)

    @classmethod
    def pair(cls, history: tuple[Message, ...], a: str, b: str, reference: str = "") -> Question:
        """Ask which of two answers to one history is better."""
        return cls(Turn(history, a), Turn(history, b), reference)


@dataclass(frozen=True)
class Verdict:
    """What a judge said to one question: an outcome, or a grade, or a problem.

    outcome: which place won. grade: 1 to 10, higher is better. problem: why there is neither;
    such a verdict counts for nobody. text: the judge's words as they came. scores: numbers a
    reward model gave. served: the model's name as the server states it.
    """

    outcome: Outcome | None = None
    grade: float | None = None
    problem: Problem = ""
    text: str = ""
    scores: tuple[float, ...] = ()
    served: str = ""
    usage: Usage = field(default_factory=Usage)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return {**vars(self), "scores": list(self.scores), "usage": vars(self.usage)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Verdict:
        """Read what `to_json` gave."""
        names = ("outcome", "grade", "problem", "text", "served")
        return cls(
            **{name: data[name] for name in names},
            scores=tuple(data["scores"]),
            usage=Usage(**data["usage"]),
        )


@dataclass(frozen=True)
class PairVerdict:
    """Both orders of one comparison of a with b.

    forward: a stood first. backward: b stood first; None for a judge whom order cannot sway.
    """

    forward: Verdict
    backward: Verdict | None = None

    @property
    def votes(self) -> tuple[int, ...]:
        """Per order +1 where a was better, -1 where b was, 0 for a tie; () unless all count."""
        worth = {"first": 1, "second": -1, "tie": 0}
        if self.forward.outcome is None:
            return ()
        if self.backward is None:
            return (worth[self.forward.outcome],)
        if self.backward.outcome is None:
            return ()
        return (worth[self.forward.outcome], -worth[self.backward.outcome])

    @property
    def result(self) -> Result | None:
        """Whether a won: better in both orders, or once and tied once; a split is a tie.

        None where an order has no outcome: what was not judged is no tie.
        """
        if not self.votes:
            return None
        total = sum(self.votes)
        return "win" if total > 0 else "loss" if total < 0 else "tie"

    @property
    def problem(self) -> str:
        """Why there is no result."""
        return self.forward.problem or (self.backward.problem if self.backward else "")
