"""Topics of a pool in two levels: clusters of embeddings with keyword titles.

Titles are the words that set a cluster apart from its siblings, by class-based TF-IDF: the share
of a cluster's prompts that hold a word, times the logarithm of that share over its mean in all
clusters: a word that is everywhere sets nothing apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.kmeans import kmeans
from instructmine.reporting.rows import IntArray, PoolRows

FloatArray = npt.NDArray[np.float32]
WORD = re.compile(r"[^\W\d_]{3,}")
ASKING = frozenset(("does", "did", "following", "given", "please", "use", "using"))
"""Words that prompts of any topic ask with, beside scikit-learn's English stop words."""
PROMPT_CHARACTERS = 2000  # of a prompt that its words are counted in
TITLE_WORDS = 3
EVERYWHERE = 0.01  # weight of such a word, for clusters without any other
FEWEST, MOST = 3, 12  # topics
LEARNED = 10_000  # rows at most that clusters are learned from; all rows are put into them
PARTS = 4  # most parts of a topic
PART_ROWS = 20  # a part holds about this many rows or more
LOST = 3.0  # a topic is called lost where that many chosen rows were to be expected


@dataclass(frozen=True)
class Topic:
    """A cluster. rows, chosen: how many of each it holds. parts: its sub-topics, largest first."""

    title: str
    rows: int
    chosen: int
    parts: tuple[Topic, ...] = ()


@dataclass(frozen=True)
class Topics:
    """Topics, largest first, over the rows that have an embedding."""

    topics: tuple[Topic, ...]
    rows: int
    chosen: int

    def lost(self) -> list[Topic]:
        """Return topics and parts without a chosen row, where some were to be expected."""
        return [
            one
            for topic in self.topics
            for one in (topic, *topic.parts)
            if one.chosen == 0 and self.expected(one) >= LOST
        ]

    def expected(self, one: Topic) -> float:
        """Return how many chosen rows a random choice would have."""
        return one.rows * self.chosen / max(self.rows, 1)


def find_topics(
    rows: PoolRows, vectors: FloatArray, prompts: Mapping[int, str], seed: int = 0
) -> Topics | None:
    """Cluster rows by their embeddings (n, d), NaN where there is none; title them by prompts.

    prompts: position → prompt of some of the rows. None for fewer than 20 embedded rows.
    """
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if len(known) < PART_ROWS:
        return None
    k = int(np.clip(round((len(known) / 50) ** 0.5), FEWEST, MOST))
    labels = np.full(len(vectors), -1)
    whole = len(known) == len(vectors)  # then a copy of a large array is spared
    labels[known] = kmeans(vectors if whole else vectors[known], k, seed, sample=LEARNED)
    words = {place: _words(text) for place, text in prompts.items()}
    found = []
    for title, own in _titled(labels, known, words):
        parts = int(np.clip(len(own) // PART_ROWS, 1, PARTS))
        below: tuple[Topic, ...] = ()
        if parts > 1:
            inner = np.full(len(vectors), -1)
            inner[own] = kmeans(vectors[own], parts, seed, sample=LEARNED)
            below = tuple(_topic(rows, name, them) for name, them in _titled(inner, own, words))
        found.append(_topic(rows, title, own, below))
    return Topics(tuple(found), len(known), int(rows.selected[known].sum()))


def _topic(rows: PoolRows, title: str, own: IntArray, parts: tuple[Topic, ...] = ()) -> Topic:
    return Topic(title, len(own), int(rows.selected[own].sum()), parts)


def _titled(
    labels: IntArray, among: IntArray, words: Mapping[int, frozenset[str]]
) -> list[tuple[str, IntArray]]:
    """Return (title, positions) of each cluster, largest first."""
    own = {int(label): among[labels[among] == label] for label in np.unique(labels[among])}
    counts = {
        label: Counter(word for place in places if place in words for word in words[place])
        for label, places in own.items()
    }
    read = {label: sum(place in words for place in places) for label, places in own.items()}
    titles = _titles(counts, read)
    largest = sorted(own, key=lambda label: (-len(own[label]), label))
    return [(titles[label], own[label]) for label in largest]


def _titles(counts: Mapping[int, Counter[str]], read: Mapping[int, int]) -> dict[int, str]:
    shares: dict[int, dict[str, float]] = {
        label: {word: n / max(read[label], 1) for word, n in found.items() if n > 1}
        for label, found in counts.items()
    }
    total: Counter[str] = Counter()
    for found in shares.values():
        total.update(found)
    titles = {}
    for label, found in shares.items():
        weights = {
            word: one * max(np.log(len(shares) * one / total[word]), EVERYWHERE)
            for word, one in found.items()
        }
        best = sorted(weights, key=lambda word: (-weights[word], word))
        titles[label] = ", ".join(_distinct(best)) or "(no common words)"
    return titles


def _distinct(words: Sequence[str]) -> list[str]:
    """Return the first words of which none begins with another: recipe, not recipes too."""
    kept: list[str] = []
    for word in words:
        if not any(word.startswith(other[:5]) or other.startswith(word[:5]) for other in kept):
            kept.append(word)
        if len(kept) == TITLE_WORDS:
            break
    return kept


def _words(text: str) -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    found = WORD.findall(text[:PROMPT_CHARACTERS].lower())
    return frozenset(
        word for word in found if word not in ENGLISH_STOP_WORDS | ASKING and len(word) < 30
    )
