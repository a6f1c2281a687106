"""Examples for the starter dialogue evaluator: good and faulty responses, with soft targets.

A good turn answers "Yes". Its faulty twin has the same history and a worse response: one that a
small language model sampled, one from elsewhere, or the good one with seeded damage.
"""

from __future__ import annotations

import difflib
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import corruptions as faults
import numpy as np
from reward_data import measured_on
from reward_groups import ordered_groups
from reward_teacher import Teacher as Quality
from transformers import AutoTokenizer
from unieval_generator import Sample, samples
from unieval_teacher import Teacher, fit
from unieval_turns import UNFIT, USED, Turn, bank, clip, flat

QUESTIONS = {
    "naturalness": (
        "question: Is this a natural response in the dialogue? </s> response: {response}"
    ),
    "understandability": (
        "question: Is this an understandable response in the dialogue? </s> response: {response}"
    ),
    "coherence": (
        "question: Is this a coherent response given the dialogue history? </s> "
        "response: {response} </s> dialogue history: {history}"
    ),
}
LEAD_INS = (
    "i think",
    "yes,",
    "well,",
    "did you know",
    "i love",
    "that is",
    "wow,",
    "i heard",
    "i'm not",
)
JUDGED = 0.8
"""Share of a fluent response's target that its quality decides."""
CLEAN = 0.35
"""Share of the first two questions' pairs that are two real responses, told apart by quality."""
UNSAID = ("generic", "empty", "refusal", "foreign", "babble")
"""Damage that leaves nothing of the good response, whatever its words."""


@dataclass(frozen=True)
class Example:
    """One input string with the wanted probability of "Yes".

    spans: start, end and soundness of each of the response's words in `text`; a word is sound (1)
    where it stands as in the good turn.
    """

    text: str
    target: float
    question: str
    fault: str
    spans: tuple[tuple[int, int, int], ...] = ()

    @property
    def response(self) -> str:
        """The response that is asked about."""
        return self.text[self.spans[0][0] : self.spans[-1][1]] if self.spans else ""


@dataclass(frozen=True)
class Bad:
    """A faulty response: targets for naturalness, understandability and coherence."""

    response: str
    natural: float
    understandable: float
    coherent: float
    fault: str
    sound: tuple[int, ...]


def soundness(good: str, bad: str) -> tuple[int, ...]:
    """1 for each word of `bad` that stands in a run of at least two words of `good`."""
    before, after = good.lower().split(), bad.lower().split()
    out = [0] * len(after)
    matcher = difflib.SequenceMatcher(a=before, b=after, autojunk=False)
    for block in matcher.get_matching_blocks():
        if block.size > 1:
            out[block.b : block.b + block.size] = [1] * block.size
    return tuple(out)


def restate(text: str, rng: random.Random) -> str:
    """Say a part of the text again, with a lead-in: a response that goes round in circles."""
    words = text.split()
    size = min(len(words), rng.randint(3, 9))
    start = rng.randrange(len(words) - size + 1)
    again = f"{rng.choice(LEAD_INS)} {' '.join(words[start : start + size])}"
    return f"{text} {again}" if rng.random() < 0.6 else f"{again} {text}"


def qualities(said: Sequence[tuple[Turn, str]], data: Path, seed: int) -> dict[str, float]:
    """How good each response to a turn's history is: from 0 to 1, a half for the middle one.

    By the reward model's teacher (`reward_teacher.py`): linear, fitted on answers of models of
    known strength, and without a dialogue.
    """
    groups = [group for group in ordered_groups(data) if not measured_on(group.turns)]
    tokenizer = AutoTokenizer.from_pretrained(common.ASSETS / "lm")
    teacher = Quality(groups, tokenizer, np.random.default_rng(seed))
    rewards = teacher.rewards([((("user", turn.history[-1]),), text) for turn, text in said])
    middle = np.median(rewards)
    return {
        text: 1 / (1 + math.exp(middle - reward))
        for (_, text), reward in zip(said, rewards.tolist(), strict=True)
    }


class Maker:
    """Makes examples of the bank's turns, either of those held out or of the others."""

    def __init__(self, data: Path, seed: int, folder: Path, development: bool) -> None:
        everything = bank(data, seed, folder)
        turns = everything[:USED]
        sampled = samples(folder, len(turns))
        self.teacher: Teacher = fit(turns, sampled, folder / "vectors", seed)
        rows = [
            (turn, sample)
            for turn, sample in zip(turns, sampled, strict=True)
            if turn.held == development and not UNFIT.search(f"{turn.response} {sample.response}")
        ]
        self.turns: list[Turn] = [turn for turn, _ in rows]
        self.sampled: list[Sample] = [sample for _, sample in rows]
        self.by_source: dict[str, list[int]] = {}
        for at, turn in enumerate(self.turns):
            self.by_source.setdefault(turn.source, []).append(at)
        self.clean = [
            turn
            for turn in everything
            if turn.held == development and not UNFIT.search(turn.response)
        ]
        said = [(turn, turn.response) for turn in self.clean]
        said += [(turn, sample.response) for turn, sample in rows]
        self.quality = qualities(said, data, seed)
        rng = random.Random(seed)
        plain = [turn.response.lower() for turn in self.turns]
        self.babbler = faults.Babbler(rng.sample(plain, min(9000, len(plain))))
        self.foreign = [
            flat(clip(row["output"], rng, 30))
            for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl")
            if row["lang"] != "en"
            and (common.stable_hash(row["output"]) % 20 == 0) == development
            and row["output"].strip()
        ]

    def counts(self) -> dict[str, int]:
        """Turns by source."""
        return dict(Counter(turn.source for turn in self.turns))

    def damaged(self, text: str, rng: random.Random) -> Bad:
        """A text with seeded damage."""
        share = rng.choice((0.2, 0.5, 0.8))
        mild = 1 - share
        babble = faults.Babbler.babble
        options: dict[str, tuple[float, Callable[[], str], float, float]] = {
            "shuffle": (1, lambda: faults.shuffle_words(text, rng, 1.0), 0.0, 0.0),
            "shuffle_part": (
                1.5,
                lambda: faults.shuffle_words(text, rng, share),
                0.3 * mild,
                0.4 * mild,
            ),
            "swap": (1, lambda: faults.swap_neighbours(text, rng, share), 0.3 * mild, 0.5 * mild),
            "delete": (2, lambda: faults.delete_words(text, rng, share), 0.4 * mild, 0.5 * mild),
            "repeat_word": (
                1,
                lambda: faults.repeat_words(text, rng, share),
                0.2 * mild,
                0.4 * mild,
            ),
            "repeat_phrase": (3, lambda: faults.repeat_phrase(text, rng), 0.05, 0.2),
            "repeat_sentence": (1.5, lambda: faults.repeat_sentence(text, rng), 0.05, 0.3),
            "restate": (2, lambda: restate(text, rng), 0.2, 0.4),
            "loop": (1, lambda: faults.loop_to_length(text, rng), 0.0, 0.1),
            "truncate": (1.5, lambda: faults.truncate(text, rng), 0.4, 0.45),
            "gibberish": (0.7, lambda: faults.gibberish(text, rng), 0.0, 0.0),
            "typos": (0.7, lambda: faults.typos(text, rng, share), 0.4 * mild, 0.7 * mild),
            "telegraphic": (1, lambda: faults.drop_small_words(text, rng), 0.15, 0.4),
            "substitute": (
                3,
                lambda: self.babbler.replace(text, rng, share),
                0.4 * mild,
                0.4 * mild,
            ),
            "derail": (2, lambda: self.babbler.derail(text, rng), 0.1, 0.15),
            "babble": (
                1,
                lambda: babble(self.babbler, rng.randint(5, 30), rng, rng.choice((1, 2, 2))),
                0.05,
                0.05,
            ),
            "foreign": (0.7, lambda: rng.choice(self.foreign), 0.1, 0.05),
            "generic": (2, lambda: rng.choice(faults.GENERIC), 0.5, 0.7),
            "empty": (0.5, lambda: rng.choice(faults.EMPTYISH), 0.05, 0.1),
            "refusal": (0.5, lambda: rng.choice(faults.REFUSALS), 0.5, 0.8),
        }
        name = rng.choices([*options], [option[0] for option in options.values()])[0]
        _, make, natural, understandable = options[name]
        made = make()
        if made.split() == text.split():
            return Bad("", 0.05, 0.1, 0.05, "empty", ())
        if name in ("generic", "refusal"):
            sound = (1,) * len(made.split())
        elif name in UNSAID:
            sound = (0,) * len(made.split())
        else:
            sound = soundness(text, made)
        coherent = 0.3 if name in ("generic", "refusal") else 0.5 * understandable
        return Bad(made, natural, understandable, coherent, name, sound)

    def spoken(self, at: int) -> Bad:
        """What the language model said in place of a turn."""
        turn, sample = self.turns[at], self.sampled[at]
        words = sample.response.split()
        if sample.response == turn.response or not words:
            return Bad("", 0.05, 0.1, 0.05, "empty", ())
        # The more words the small model added, the likelier one of them is out of place.
        new = max(0, len(words) - sample.kept)
        fluent = 0.55 * math.exp(-new / (16 if sample.nucleus < 0.8 else 9))
        fluent *= self.judged(sample.response)
        sound = tuple(int(place < sample.kept) for place in range(len(words)))
        name = f"sampled_{sample.nucleus}"
        return Bad(sample.response, fluent, 1.1 * fluent, fluent, name, sound)

    def unrelated(self, at: int, rng: random.Random) -> Bad:
        """A good response that does not fit the history."""
        turn = self.turns[at]
        kind = rng.choices(("other", "hard", "copy", "echo"), (5, 3, 2, 2))[0]
        if kind in ("copy", "echo"):
            old = clip(rng.choice(turn.history), rng, 40)
            said = old if kind == "copy" else f"{old} {turn.response}"
            coherent = 0.1 if kind == "copy" else 0.4
            return Bad(said, 0.8, 0.9, coherent, kind, (1,) * len(said.split()))
        alike = self.by_source[turn.source]
        pool = range(len(self.turns)) if kind == "other" and rng.random() < 0.4 else alike
        names = [self.turns[rng.choice(pool)].response for _ in range(24 if kind == "hard" else 1)]
        names = [name for name in names if name != turn.response] or [self.turns[0].response]
        belongs = self.teacher.belongs(turn, names)
        best = int(belongs.argmax())
        said = names[best]
        coherent = 0.6 * float(belongs[best]) * self.judged(said)
        return Bad(said, 1.0, 1.0, coherent, kind, (1,) * len(said.split()))

    def judged(self, response: str) -> float:
        """Factor of a target for how good a clean or sampled response is, by the reward teacher."""
        return 1 - JUDGED + JUDGED * self.quality[response]

    def history(self, turn: Turn, rng: random.Random) -> str:
        """The last turns before the response, one a line: as many as a random budget allows."""
        return last_turns(turn, rng.choice((20, 40, 60, 90, 160)))

    def pair(self, rng: random.Random) -> tuple[Example, Example]:
        """A question with a good response and with a faulty one to the same history."""
        at = rng.randrange(len(self.turns))
        return self.asked(rng.choices((*QUESTIONS,), (0.25, 0.25, 0.5))[0], at, rng)

    def asked(self, question: str, at: int, rng: random.Random) -> tuple[Example, Example]:
        """One question with two responses."""
        turn = self.turns[at]
        if question != "coherence" and rng.random() < CLEAN:
            return self.clean_pair(question, rng)
        kind, target = rng.random(), self.judged(turn.response)
        if question == "coherence":
            bad = (
                self.unrelated(at, rng)
                if kind < 0.3
                else self.spoken(at)
                if kind < 0.75
                else self.damaged(turn.response, rng)
            )
            wanted = bad.coherent
        else:
            bad = self.spoken(at) if kind < 0.5 else self.damaged(turn.response, rng)
            wanted = bad.natural if question == "naturalness" else bad.understandable
        history = self.history(turn, rng)
        sound = (1,) * len(turn.response.split())
        return (
            example(question, turn.response, history, target, "none", sound),
            example(question, bad.response, history, wanted, bad.fault, bad.sound),
        )

    def clean_pair(self, question: str, rng: random.Random) -> tuple[Example, Example]:
        """A question with two real responses."""
        one, two = (
            example(
                question,
                turn.response,
                "",
                self.judged(turn.response),
                "none",
                (1,) * len(turn.response.split()),
            )
            for turn in rng.sample(self.clean, 2)
        )
        return one, two

    def examples(self, rng: random.Random, pairs: int) -> list[Example]:
        """Good and faulty examples in turn."""
        return [example for _ in range(pairs) for example in self.pair(rng)]


def last_turns(turn: Turn, budget: int) -> str:
    """The last turns before the response, one a line: up to so many words, one turn at least."""
    kept: list[str] = []
    for part in reversed(turn.history):
        budget -= len(part.split())
        if kept and budget < 0:
            break
        kept.append(part)
    return "\n".join(reversed(kept))


def example(
    question: str, response: str, history: str, target: float, fault: str, sound: Sequence[int]
) -> Example:
    """An input string, with the places of the response's words."""
    form = QUESTIONS[question]
    at = form.index("{response}")
    spans = []
    for word, good in zip(response.split(), sound, strict=True):
        at = (
            at
            + response.index(word, at - form.index("{response}"))
            - (at - form.index("{response}"))
        )
        spans.append((at, at + len(word), good))
        at += len(word)
    text = form.format(response=response, history=history)
    return Example(text, target, question, fault, tuple(spans))
