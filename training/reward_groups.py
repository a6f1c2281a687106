"""Groups of answers to one prompt with levels: what the starter reward model is trained on.

Within a group a higher level is better, and levels less than one apart are not compared. There are
four kinds: answers of models of known strength, pairs that come with their order, good answers with
faulty copies, and good answers among good answers to neighbouring prompts.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import corruptions as faults
import numpy as np
from reward_data import (
    Answered,
    Messages,
    ask,
    foreign_answers,
    good_answers,
    graded_answers,
    part_of,
    preference_pairs,
)
from reward_faults import FAULTS, Breaker

ENCODER = common.ASSETS / "encoder"
UNRELATED = -1.5
"""Level of an answer to another prompt among graded answers."""
SEEDED = ("faulty", "unrelated")
"""Kinds of groups whose first answer is good and all others are not."""


@dataclass(frozen=True)
class Group:
    """Answers to one prompt with their levels."""

    turns: Messages
    answers: tuple[tuple[str, float], ...]
    kind: str


def mt_bench_groups(data: Path) -> list[Group]:
    """First answers of a strong and of a weaker model to MT-Bench."""
    questions = common.read_rows(data / "eval/mt_bench_question.jsonl")
    asked = {row["question_id"]: ask(row["turns"][0]) for row in questions}
    found: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for name, level in (("gpt-4o", 7.0), ("llama-2-chat7b", 4.0)):
        for row in common.read_rows(data / f"judgments/mt_bench_answers/{name}.jsonl"):
            found[row["question_id"]].append((row["choices"][0]["turns"][0], level))
    return [Group(asked[at], tuple(answers), "mt_bench_graded") for at, answers in found.items()]


def ordered_groups(data: Path) -> list[Group]:
    """Every group whose order comes with the data; one a prompt but for pairs."""
    out = []
    for turns, answers in graded_answers(data).items():
        texts = {text: float(level) for text, level, _ in answers if text.strip()}
        out.append(Group(turns, tuple(texts.items()), answers[0][2]))
    out += mt_bench_groups(data)
    out += [
        Group(pair.turns, ((pair.better, 1.0), (pair.worse, 0.0)), pair.kind)
        for pair in preference_pairs(data)
        if pair.better.strip() != pair.worse.strip()
    ]
    return out


class Groups:
    """Draws groups of the given parts of the prompts."""

    KINDS = {"graded": 3.0, "pairs": 1.5, "faulty": 7.0, "unrelated": 1.5}
    PAIRS = {"rasbt_pref": 3.0, "dpo_pref": 0.7, "hh_pref": 0.5}
    GRADED = {"graded_vicuna": 3.0, "graded_self_instruct": 3.0, "mt_bench_graded": 0.7}

    def __init__(self, data: Path, parts: Collection[str], scratch: Path) -> None:
        good = good_answers(data)
        rows = [row for part in sorted(parts) for row in good if part_of(row.turns) == part]
        self.breaker = Breaker(rows, foreign_answers(data, held_out="measured" in parts))
        self.groups: dict[str, list[Group]] = defaultdict(list)
        for group in ordered_groups(data):
            if part_of(group.turns) in parts:
                self.groups[group.kind].append(group)
        self.rows = rows
        self.place = {id(row): at for at, row in enumerate(rows)}
        vectors = [
            encoded([row for row in good if part_of(row.turns) == part], scratch / f"{part}.npy")
            for part in sorted(parts)
        ]
        self.near = neighbours(np.concatenate(vectors))

    def ordered(self) -> list[Group]:
        """Every group whose order comes with the data."""
        return [group for groups in self.groups.values() for group in groups]

    def draw(self, rng: random.Random) -> Group:
        """One group."""
        kind = rng.choices(list(self.KINDS), list(self.KINDS.values()))[0]
        if kind == "faulty":
            return self.faulty(rng)
        if kind == "unrelated":
            return self.unrelated(rng)
        shares = self.PAIRS if kind == "pairs" else self.GRADED
        names = [name for name in shares if self.groups[name]]
        group = rng.choice(self.groups[rng.choices(names, [shares[n] for n in names])[0]])
        return group if kind == "pairs" else self.graded(group, rng)

    def graded(self, group: Group, rng: random.Random, most: int = 6) -> Group:
        """Some of the graded answers, and an answer of another group of the kind."""
        answers = rng.sample(group.answers, min(most, len(group.answers)))
        other = rng.choice(self.groups[group.kind])
        if other.turns != group.turns:
            answers.append((rng.choice(other.answers)[0], UNRELATED))
        return Group(group.turns, tuple(answers), group.kind)

    def faulty(self, rng: random.Random, copies: int = 3) -> Group:
        """A good answer and faulty copies of it."""
        row = self.breaker.draw(rng)
        answers = {row.answer: 1.0}
        for name in rng.choices(tuple(FAULTS), tuple(FAULTS.values()), k=copies):
            if self.breaker.fits(row, name):
                answers.setdefault(self.breaker.faulty(row, rng, name), 0.0)
        return Group(row.turns, tuple(answers.items()), "faulty")

    def unrelated(self, rng: random.Random, copies: int = 3) -> Group:
        """A good answer among good answers to prompts that resemble its own."""
        row = self.breaker.draw(rng)
        at = self.place[id(row)]
        answers = [(row.answer, 1.0)]
        for other in rng.sample(list(self.near[at]), copies):
            text = self.rows[other].answer
            if rng.random() < 0.6:
                text = faults.length_match(text, row.answer)
            answers.append((text, 0.0))
        return Group(row.turns, tuple(answers), "unrelated")


def encoded(rows: Sequence[Answered], kept: Path) -> np.ndarray:
    """(rows, 2, width) vectors of prompts and answers, kept in a file for the next time."""
    if not kept.exists():
        from sentence_transformers import SentenceTransformer

        encoder = SentenceTransformer(str(ENCODER), device="cpu", model_kwargs={"dtype": "float32"})
        texts = [text for row in rows for text in (row.turns[-1][1][-400:], row.answer[:400])]
        found = encoder.encode(texts, batch_size=64, show_progress_bar=False)
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, found.reshape(len(rows), 2, -1))
    return np.load(kept)


def neighbours(vectors: np.ndarray, count: int = 40, alike: float = 0.85) -> np.ndarray:
    """By row: others whose prompts or answers resemble its prompt, but ask something else."""
    prompts, answers = vectors[:, 0], vectors[:, 1]
    rng = np.random.default_rng(0)
    out = np.empty((len(vectors), count), dtype=np.int64)
    for at in range(0, len(vectors), 256):
        by_prompt = prompts[at : at + 256] @ prompts.T
        by_answer = prompts[at : at + 256] @ answers.T
        same = by_prompt > alike
        by_prompt[same], by_answer[same] = -1, -1
        near = np.concatenate(
            [np.argpartition(-scores, 60)[:, :60] for scores in (by_prompt, by_answer)], axis=1
        )
        out[at : at + 256] = rng.permuted(near, axis=1)[:, :count]
    return out
