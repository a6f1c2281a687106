"""The bounded sample of rows whose text is read: which rows, and what their text tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from instructmine.pool import Example
from instructmine.reporting.blocks import share
from instructmine.reporting.rows import IntArray, PoolRows

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

BEST, BORDER, WORST, EXCLUDED, RANDOM = 200, 100, 200, 100, 400  # rows to browse
TITLED = 3000  # rows whose prompts name the topics
READ = 400  # characters of a text that its language is told by
SURE, LEAST = 100, 40  # letters that tell a language by themselves; with the prompt's


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

    @property
    def drawn(self) -> Mapping[int, Example]:
        """The rows drawn at random from the whole pool: their shares are the pool's."""
        return {p: self.examples[p] for p in self.sample.others.tolist() if p in self.examples}


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
        for one in sampled.drawn.values()
    )
    return tuple((n, rows, share(rows, turns.total())) for n, rows in sorted(turns.items()))


def languages(sampled: Sampled) -> tuple[tuple[str, int, str], ...]:
    """Return (ISO 639 code, rows, share) of the responses, most common first; py3langid tells."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    found = Counter(
        _language(one.prompt, one.response, identifier) for one in sampled.drawn.values()
    )
    return tuple((name, n, share(n, found.total())) for name, n in found.most_common())


def _language(prompt: str, response: str, identifier: LanguageIdentifier) -> str:
    """A response of a few words looks like any language: then its prompt is read with it."""
    text = response[:READ]
    if _letters(text) < SURE:
        text = f"{prompt[-READ:]}\n{text}"
    if _letters(text) < LEAST:
        return "too short to tell"
    return str(identifier.classify(text.encode("utf-8", "replace"))[0])


def _letters(text: str) -> int:
    return sum(char.isalpha() for char in text)
