"""The bounded sample of rows whose text is read: which rows, and what their text tells."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from instructmine.pool import Example
from instructmine.reporting.blocks import share
from instructmine.reporting.rows import IntArray, PoolRows

BEST, BORDER, WORST, EXCLUDED, RANDOM = 200, 100, 200, 100, 400  # rows to browse
TITLED = 3000  # rows whose prompts name the topics
LETTERS = 400  # characters of a response that its writing system is told by


@dataclass(frozen=True)
class Sample:
    """Which rows to read. groups: name → positions to browse. others: for topics alone."""

    groups: Mapping[str, IntArray]
    others: IntArray

    @property
    def browsed(self) -> IntArray:
        """Positions to browse, each once, in the order of the groups."""
        every = np.concatenate([*self.groups.values(), np.empty(0, dtype=np.int64)])
        return every[np.sort(np.unique(every, return_index=True)[1])].astype(np.int64)

    @property
    def positions(self) -> IntArray:
        """All positions to read, each once."""
        return np.union1d(self.browsed, self.others)


@dataclass(frozen=True)
class Sampled:
    """What was read: position → example and row shape; `problem` says why nothing was.

    changed: rows that hold another text than when they were scored, and are left out.
    """

    sample: Sample
    examples: Mapping[int, Example] = field(default_factory=dict)
    shapes: Mapping[int, str] = field(default_factory=dict)
    problem: str = ""
    changed: int = 0


def draw(rows: PoolRows, seed: int = 0) -> Sample:
    """Choose the rows to read; the same rows give the same sample."""
    rng = np.random.default_rng(seed)
    everyone = np.arange(len(rows))
    groups: dict[str, IntArray] = {}
    if rows.decided:
        cut = int(rows.selected.sum())
        ranked = rows.ranked
        groups["best"] = ranked[:BEST]
        groups["borderline"] = ranked[max(0, cut - BORDER) : cut + BORDER]
        groups["worst"] = ranked[-WORST:][::-1]
        excluded = np.flatnonzero(rows.rank == 0)
        groups["left out"] = _some(rng, excluded, EXCLUDED)
    groups["random"] = _some(rng, everyone, RANDOM)
    groups = {name: own for name, own in groups.items() if len(own)}
    return Sample(groups, _some(rng, everyone, TITLED))


def _some(rng: np.random.Generator, of: IntArray, most: int) -> IntArray:
    return np.sort(rng.choice(of, min(most, len(of)), replace=False)) if len(of) else of


def conversations(sampled: Sampled) -> tuple[tuple[int, int, str], ...]:
    """Return (assistant turns, rows, share), fewest turns first."""
    turns = Counter(
        sum(message.role == "assistant" for message in one.messages)
        for one in sampled.examples.values()
    )
    return tuple((n, rows, share(rows, turns.total())) for n, rows in sorted(turns.items()))


def scripts(sampled: Sampled) -> tuple[tuple[str, int, str], ...]:
    """Return (writing system, rows, share) of the responses, most common first."""
    found = Counter(script(one.response) for one in sampled.examples.values())
    return tuple((name, n, share(n, found.total())) for name, n in found.most_common())


def script(text: str) -> str:
    """Return the writing system of most letters of a text, by their Unicode names."""
    names = Counter(
        unicodedata.name(char, "").split(" ")[0] for char in text[:LETTERS] if char.isalpha()
    )
    names.pop("", None)
    if not names:
        return "no letters"
    first = names.most_common(1)[0][0]
    return {"CJK": "Chinese characters", "HIRAGANA": "Japanese", "KATAKANA": "Japanese"}.get(
        first, first.capitalize()
    )
