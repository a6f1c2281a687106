"""Good answers with seeded synthetic faults: what the starter reward model must mark down."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence

import corruptions as faults
from reward_data import Answered, Pair

DRAWN = {
    "roleplay": 5, "t0": 2.5, "gsm8k": 2, "rasbt": 3, "kto": 1.5, "dpo": 2, "oasst": 2,
    "self_instruct": 2, "vicuna": 1.5, "mt_bench": 0.7,
}  # fmt: skip
"""How often a source's answers are drawn, by weight."""
FAULTS = {
    "truncated": 5, "off_topic": 2, "off_topic_near": 2, "off_topic_overlap": 2, "repetitive": 5,
    "looping": 1, "padded": 1.5, "wrong_language": 1.5, "gibberish": 1, "shuffled": 1.5,
    "words_missing": 1.5, "typos": 1, "babble": 1, "derailed": 1.5, "words_substituted": 2,
    "prompt_copied": 2.5, "refusal": 2, "empty": 1.5, "too_short": 1.5, "cut_short": 2.5,
    "runs_on": 1.5,
    "numbers_altered": 1.5,
}  # fmt: skip


class Breaker:
    """Draws good answers and breaks them.

    Args:
        rows: Good answers, the material of unrelated answers and of babble too.
        foreign: Texts in other languages than English.
    """

    def __init__(self, rows: Sequence[Answered], foreign: Sequence[str]) -> None:
        self.good: dict[str, list[Answered]] = defaultdict(list)
        for row in rows:
            self.good[row.source].append(row)
        ordered = [row for rows in self.good.values() for row in rows]
        self.babbler = faults.Babbler(
            row.answer for row in random.Random(0).sample(ordered, min(5000, len(ordered)))
        )
        self.foreign = foreign

    def draw(self, rng: random.Random) -> Answered:
        """One good answer."""
        names = list(self.good)
        return rng.choice(self.good[rng.choices(names, [DRAWN[n] for n in names])[0]])

    def faulty(self, row: Answered, rng: random.Random, fault: str) -> str:
        """The row's answer with the named fault."""
        text = row.answer
        share = rng.choice((0.15, 0.3, 0.5, 0.8))
        size = len(text.split())
        made: Callable[[], str] = {
            "truncated": lambda: faults.truncate(text, rng),
            "off_topic": lambda: self.draw(rng).answer,
            "off_topic_near": lambda: self.neighbour(row, rng, 1),
            "off_topic_overlap": lambda: self.neighbour(row, rng, 16),
            "repetitive": lambda: rng.choice(
                (
                    faults.loop_sentences,
                    faults.repeat_sentence,
                    faults.repeat_phrase,
                    faults.repeat_words,
                )
            )(text, rng),
            "looping": lambda: faults.loop_to_length(text, rng),
            "padded": lambda: (
                f"{text} {rng.choice(faults.sentences(text) or [text])} "
                f"{faults.length_match(self.draw(rng).answer, text)}"
            ),
            "wrong_language": lambda: faults.length_match(rng.choice(self.foreign), text),
            "gibberish": lambda: faults.gibberish(text, rng),
            "shuffled": lambda: faults.shuffle_words(text, rng, rng.choice((0.3, 0.6, 1.0))),
            "words_missing": lambda: rng.choice((faults.delete_words, faults.drop_small_words))(
                text, rng, share
            ),
            "typos": lambda: faults.typos(text, rng, share),
            "babble": lambda: self.babbler.babble(max(4, size), rng, rng.choice((1, 2))),
            "derailed": lambda: self.babbler.derail(text, rng),
            "words_substituted": lambda: self.babbler.replace(text, rng, share),
            "prompt_copied": lambda: (
                row.turns[-1][1]
                if rng.random() < 0.7
                else f"{row.turns[-1][1]}\n{faults.truncate(text, rng, 0.05, 0.3)}"
            ),
            "refusal": lambda: rng.choice(faults.REFUSALS),
            "empty": lambda: rng.choice(faults.EMPTYISH),
            "too_short": lambda: " ".join(text.split()[: rng.randint(1, 3)]).rstrip(".,"),
            "cut_short": lambda: faults.first_sentences(text, rng),
            "runs_on": lambda: (
                f"{text}\n\nInput: {self.draw(rng).turns[-1][1]}\nOutput: "
                f"{faults.truncate(self.draw(rng).answer, rng)}"
            ),
            "numbers_altered": lambda: faults.alter_numbers(text, rng),
        }[fault]
        return made()

    def neighbour(self, row: Answered, rng: random.Random, tries: int) -> str:
        """An answer to another prompt of the same source; the one nearest in words of `tries`."""
        known = set(row.turns[-1][1].lower().split())
        options = [rng.choice(self.good[row.source]).answer for _ in range(tries)]

        def near(text: str) -> float:
            said = set(text.lower().split())
            length = abs(math.log((len(text) + 1) / (len(row.answer) + 1)))
            return len(said & known) / math.sqrt(len(said) + 1) - 0.5 * length

        return max(options, key=near)

    def fits(self, row: Answered, fault: str) -> bool:
        """Whether the row's answer can have the fault."""
        if fault == "numbers_altered":
            return row.source == "gsm8k"
        if fault in ("truncated", "too_short", "cut_short"):
            return len(row.answer.split()) >= 8 and len(faults.sentences(row.answer)) >= 2
        return True

    def fault_pair(self, rng: random.Random, fault: str | None = None) -> Pair:
        """A good answer and a faulty one."""
        row = self.draw(rng)
        name = fault or rng.choices(tuple(FAULTS), tuple(FAULTS.values()))[0]
        while not self.fits(row, name):
            row = rng.choice(self.good["gsm8k"]) if "numbers" in name else self.draw(rng)
        worse = self.faulty(row, rng, name)
        if worse.split() == row.answer.split():
            worse, name = rng.choice(faults.EMPTYISH), "empty"
        better = row.answer
        if name.startswith("off_topic") and rng.random() < 0.5:
            worse = faults.length_match(worse, better)
        return Pair(row.turns, better, worse, name)
