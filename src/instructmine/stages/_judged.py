"""Models answer prompts, and a judge compares or grades what they said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from instructmine import preference
from instructmine.answering import Answers
from instructmine.contracts import Answerer
from instructmine.errors import UsageError
from instructmine.judging import Bench, Estimated
from instructmine.pool import Message, Turn
from instructmine.spending import CHARACTERS_PER_TOKEN
from instructmine.stages._run import Run
from instructmine.verdicts import Answer, PairVerdict, Prompt, Question, Usage, Verdict

REFERENCES = "references"  # the opponent that the prompts file itself holds
TYPICAL_ANSWER = 200  # tokens of an answer that is not there yet, for estimates

Conversation = tuple[tuple[Turn, Answer], ...]


@dataclass
class Contest:
    """Models, the prompts they answer, an opponent or none, and the judge.

    against: a model, REFERENCES, or None for grades alone. grade: whether answers are graded.
    """

    run: Run
    answerers: Mapping[str, Answerer]
    prompts: Sequence[Prompt]
    bench: Bench
    against: str | None
    grade: bool
    seed: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be judged. Raises UsageError."""
        if self.against == REFERENCES:
            lacking = [p.place for p in self.prompts if len(p.references) != p.turns]
            if lacking:
                raise UsageError(
                    f"{len(lacking)} of {len(self.prompts)} prompts have no reference "
                    f"({', '.join(lacking[:3])}{', …' if len(lacking) > 3 else ''}); name a model "
                    "with --against, or pass --grade"
                )

    @property
    def contestants(self) -> list[str]:
        """The models that are compared with the opponent."""
        return [name for name in self.answerers if name != self.against]

    # ── answers ─────────────────────────────────────────────────────────────────────────────

    def answers(self) -> dict[str, list[Conversation]]:
        """Return every model's answers, one model loaded at a time, and the references'."""
        found = {}
        for name, answerer in self.answerers.items():
            source = Answers(
                answerer, self.run.workdir, self.run.context, self.bench.meter,
                self.run.progress, f"answers of {name}",
            )  # fmt: skip
            found[name] = source.converse(self.prompts)
            source.close()
        if self.against == REFERENCES:
            found[REFERENCES] = [_stated(prompt) for prompt in self.prompts]
        return found

    # ── verdicts ────────────────────────────────────────────────────────────────────────────

    def judge(self) -> dict[str, Any]:
        """Answer, judge and summarise; `rows` then holds one row per verdict."""
        answers = self.answers()
        result: dict[str, Any] = {
            "judge": self.bench.judge.identity(),
            "prompts": len(self.prompts),
        }
        if self.against is not None:
            result["against"] = self.against
            result["pairwise"] = [
                entry for name in self.contestants for entry in self._pairwise(name, answers)
            ]
        if self.grade:
            result["grades"] = [
                entry for name in self.answerers for entry in self._grades(name, answers[name])
            ]
        problems = [e["problems"] for k in ("pairwise", "grades") for e in result.get(k, ())]
        limited = sum(one.get("not asked", 0) for one in problems)
        result["answers"] = {
            name: _answer_facts(found) for name, found in answers.items() if name != REFERENCES
        }
        spent = self.bench.meter.spent
        result["usage"] = dict(vars(spent))
        result["cost"] = self.bench.limits.cost(spent)
        result["complete"] = limited == 0
        return result

    def _pairwise(
        self, name: str, answers: Mapping[str, list[Conversation]]
    ) -> list[dict[str, Any]]:
        """Return a model's entries against the opponent: all turns, then each by itself."""
        assert self.against is not None
        slots = self._slots()
        sides = [[_at(answers[who][p], t) for p, t in slots] for who in (name, self.against)]
        reasons = {
            place: _lacking(own, other)
            for place, (own, other) in enumerate(zip(*sides, strict=True))
            if _lacking(own, other)
        }
        asked = [place for place in range(len(slots)) if place not in reasons]
        questions = [self._question(slots[p], sides[0][p], sides[1][p]) for p in asked]
        verdicts: list[PairVerdict | None] = [None] * len(slots)
        for place, verdict in zip(asked, self.bench.compare(questions), strict=True):
            verdicts[place] = verdict
        lengths = [[len(one[1].text) if one else 0 for one in side] for side in sides]
        for place, (prompt, turn) in enumerate(slots):
            self.rows.append(
                self._row("pairwise", name, prompt, turn, sides[0][place])
                | _pair_facts(verdicts[place], reasons.get(place, ""))
                | {
                    "opponent": self.against,
                    "opponent_answer": sides[1][place][1].text if sides[1][place] else None,
                }
            )
        return [
            {"model": name, "opponent": self.against, "turn": turn}
            | preference.preference(
                [verdicts[p] for p in chosen],
                [lengths[0][p] for p in chosen],
                [lengths[1][p] for p in chosen],
                prompts=[slots[p][0] for p in chosen],
                reasons={i: reasons[p] for i, p in enumerate(chosen) if p in reasons},
                seed=self.seed,
            ).to_json()
            for turn, chosen in _by_turn(slots).items()
        ]

    def _grades(self, name: str, answers: Sequence[Conversation]) -> list[dict[str, Any]]:
        """Return a model's grades: all turns, then each by itself."""
        slots = self._slots()
        said = [_at(answers[p], t) for p, t in slots]
        reasons = {place: _lacking(one) for place, one in enumerate(said) if _lacking(one)}
        asked = [place for place in range(len(slots)) if place not in reasons]
        questions = [self._question(slots[p], said[p]) for p in asked]
        verdicts: list[Verdict | None] = [None] * len(slots)
        for place, verdict in zip(asked, self.bench.verdicts(questions), strict=True):
            verdicts[place] = verdict
        for place, (prompt, turn) in enumerate(slots):
            verdict = verdicts[place]
            self.rows.append(
                self._row("grade", name, prompt, turn, said[place])
                | {
                    "grade": verdict.grade if verdict else None,
                    "forward_text": verdict.text if verdict else None,
                    "problem": verdict.problem if verdict else reasons.get(place, "not asked"),
                }
            )
        return [
            {"model": name, "turn": turn}
            | preference.grades(
                [verdicts[p] for p in chosen],
                [slots[p][0] for p in chosen],
                reasons={i: reasons[p] for i, p in enumerate(chosen) if p in reasons},
                seed=self.seed,
            ).to_json()
            for turn, chosen in _by_turn(slots).items()
        ]

    def _slots(self) -> list[tuple[int, int]]:
        """Return (prompt, turn) for every answer there is to be."""
        return [(p, t) for p, one in enumerate(self.prompts) for t in range(one.turns)]

    def _question(
        self,
        slot: tuple[int, int],
        own: tuple[Turn, Answer] | None,
        other: tuple[Turn, Answer] | None = None,
    ) -> Question:
        prompt, turn = self.prompts[slot[0]], slot[1]
        assert own is not None
        helps = self.against != REFERENCES or other is None
        reference = prompt.references[turn] if helps and len(prompt.references) > turn else ""
        return Question(own[0], other[0] if other else None, reference)

    def _row(
        self, kind: str, name: str, prompt: int, turn: int, said: tuple[Turn, Answer] | None
    ) -> dict[str, Any]:
        return {
            "kind": kind,
            "model": name,
            "place": self.prompts[prompt].place,
            "turn": turn + 1,
            "answer": said[1].text if said else None,
            "tokens": said[1].tokens if said else None,
        }

    # ── estimates ───────────────────────────────────────────────────────────────────────────

    def missing_answers(self) -> dict[str, int]:
        """Return how many answers each model has to give still; loads nothing."""
        return {name: sum(one is None for c in found for one in c) for name, found in self._known()}

    def _known(self) -> list[tuple[str, list[list[tuple[Turn, Answer] | None]]]]:
        """Return the answers that are there, None for the others."""
        found = []
        for name, answerer in self.answerers.items():
            source = Answers(answerer, self.run.workdir)
            found.append((name, [_kept(source, prompt) for prompt in self.prompts]))
        return found

    def estimate(self) -> Estimated:
        """Estimate what would be asked of servers, by typical answers where there are none."""
        known = dict(self._known())
        waited = Usage()
        for name, all_ in known.items():
            missing = (p for p, said in enumerate(all_) for one in said if one is None)
            each = self.answerers[name].estimate
            waited = sum((each(self.prompts[p].history) for p in missing), waited)
        answers = Estimated(0, 0, waited, self.bench.limits.cost(waited))
        if self.against == REFERENCES:
            known[REFERENCES] = [list(_stated(prompt)) for prompt in self.prompts]
        typical = "x" * (CHARACTERS_PER_TOKEN * TYPICAL_ANSWER)
        sides = {
            name: [
                one or (Turn(self.prompts[p].history, f"{name} {p}.{t} {typical}"), Answer(""))
                for (p, t), one in zip(self._slots(), (a for c in all_ for a in c), strict=True)
            ]
            for name, all_ in known.items()
        }
        slots = self._slots()
        pairs = [
            self._question(slot, own, other)
            for name in (self.contestants if self.against is not None else ())
            for slot, own, other in zip(slots, sides[name], sides[self.against or ""], strict=True)
        ]
        single = [
            self._question(slot, own)
            for name in (self.answerers if self.grade else ())
            for slot, own in zip(slots, sides[name], strict=True)
        ]
        return answers + self.bench.estimate(pairs) + self.bench.estimate(single, compare=False)


def _stated(prompt: Prompt) -> Conversation:
    """Return the references as a model's answers."""
    history, made = prompt.history, []
    for turn, reference in enumerate(prompt.references):
        made.append((Turn(history, reference), Answer(reference)))
        if turn < len(prompt.followups):
            asked = Message("user", prompt.followups[turn])
            history = (*history, Message("assistant", reference), asked)
    return tuple(made)


def _kept(source: Answers, prompt: Prompt) -> list[tuple[Turn, Answer] | None]:
    """Return the answers to a prompt that are kept, turn by turn, None for the others."""
    found: list[tuple[Turn, Answer] | None] = []
    history = prompt.history
    for turn in range(prompt.turns):
        answer = source.known(history) if len(found) == turn else None
        if answer is None:
            return [*found, *[None] * (prompt.turns - len(found))]
        found.append((Turn(history, answer.text), answer))
        if turn < len(prompt.followups):
            asked = Message("user", prompt.followups[turn])
            history = (*history, Message("assistant", answer.text), asked)
    return found


def _at(said: Conversation, turn: int) -> tuple[Turn, Answer] | None:
    return said[turn] if turn < len(said) else None


def _lacking(*sides: tuple[Turn, Answer] | None) -> str:
    """Say why there is nothing to judge, or return ""."""
    return "no answer" if any(one is None or one[1].problem for one in sides) else ""


def _by_turn(slots: Sequence[tuple[int, int]]) -> dict[str, list[int]]:
    """Return the places of all turns, and of each one where there are several."""
    places = {"all": list(range(len(slots)))}
    numbers = sorted({turn for _, turn in slots})
    if len(numbers) > 1:
        for number in numbers:
            places[str(number + 1)] = [p for p, (_, turn) in enumerate(slots) if turn == number]
    return places


def _pair_facts(verdict: PairVerdict | None, reason: str) -> dict[str, Any]:
    if verdict is None:
        return {"problem": reason or "not asked"}
    backward = verdict.backward
    return {
        "result": verdict.result,
        "forward": verdict.forward.outcome,
        "backward": backward.outcome if backward else None,
        "forward_text": verdict.forward.text or json.dumps(list(verdict.forward.scores)),
        "backward_text": backward.text if backward else None,
        "problem": verdict.problem,
    }


def _answer_facts(found: Sequence[Conversation]) -> dict[str, Any]:
    said = [answer for one in found for _, answer in one]
    problems: dict[str, int] = {}
    for answer in said:
        if answer.problem:
            problems[answer.problem] = problems.get(answer.problem, 0) + 1
    count = max(1, len(said))
    return {
        "answers": len(said),
        "mean_characters": sum(len(one.text) for one in said) / count,
        "mean_tokens": sum(one.tokens for one in said) / count,
        "cut": sum(one.finish == "length" for one in said),
        "problems": problems,
    }
