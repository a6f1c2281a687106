"""Finds pool prompts that also occur in an evaluation set, by their 8-grams of words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.pool import Example
from instructmine.shingles import HashArray, WordHasher, ngrams, words

GRAM = 8  # words in a run that two texts hardly share by chance
COVERED = 0.5  # share of a prompt's words that must lie in shared runs, exceeded


@dataclass(frozen=True)
class EvalPrompt:
    """One prompt of an evaluation set: its user messages, and where it was read."""

    source: str
    row: int
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Contamination:
    """A pool prompt that occurs in an evaluation set.

    source, row: the evaluation row that covers most of it. share: of the prompt's words that
    lie in 8-grams of the evaluation set; 1 for a short prompt that is the same as a whole.
    """

    source: str
    row: int
    share: float

    def __str__(self) -> str:
        """`FILE:ROW`, as it stands in the decisions."""
        return f"{self.source}:{self.row}"


class Decontaminator:
    """Holds the fingerprints of evaluation prompts and checks pool examples against them.

    Words are normalised (NFKC, casefolded, no punctuation). A prompt is contaminated when more
    than half of the words of one of its user messages lie in 8-grams that occur in evaluation
    prompts; a prompt or first message of fewer than 8 words, when it equals an evaluation
    message. Memory: 12 bytes per 8-gram of the evaluation sets; examples stream.

    Not covered: paraphrases and translations, and answers leaked without their prompts.
    """

    def __init__(self, prompts: Iterable[EvalPrompt]) -> None:
        self._hasher = WordHasher()
        self._prompts: list[tuple[str, int]] = []
        self._short: dict[str, int] = {}
        grams: list[HashArray] = []
        owners: list[npt.NDArray[np.int32]] = []
        for number, prompt in enumerate(prompts):
            self._prompts.append((prompt.source, prompt.row))
            found = [ngrams(self._hashes(message), GRAM) for message in prompt.messages]
            gram = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)
            grams.append(gram)
            owners.append(np.full(len(gram), number, dtype=np.int32))
            for whole in self._wholes(["\n".join(prompt.messages), *prompt.messages]):
                self._short.setdefault(whole, number)
        all_grams = np.concatenate(grams) if grams else np.empty(0, dtype=np.uint64)
        order = np.argsort(all_grams, kind="stable")
        self._grams = all_grams[order]
        self._owners = np.concatenate(owners)[order] if owners else np.empty(0, dtype=np.int32)

    def __len__(self) -> int:
        """Number of evaluation prompts."""
        return len(self._prompts)

    def check(self, example: Example) -> Contamination | None:
        """Say which evaluation row an example's prompt occurs in, or None."""
        messages = [message.content for message in example.messages if message.role == "user"]
        # A later message ("Go on.") says too little without what it follows.
        for whole in self._wholes(["\n".join(messages), *messages[:1]]):
            if whole in self._short:
                return Contamination(*self._prompts[self._short[whole]], 1.0)
        worst: Contamination | None = None
        for message in messages:
            found = self._check_message(self._hashes(message))
            if found is not None and (worst is None or found.share > worst.share):
                worst = found
        return worst

    def _hashes(self, text: str) -> HashArray:
        return self._hasher.hashes(words(text))

    def _wholes(self, texts: Iterable[str]) -> list[str]:
        """Return the normalised texts that are too short for an 8-gram."""
        found = [words(text) for text in dict.fromkeys(texts)]
        return [" ".join(one) for one in found if 0 < len(one) < GRAM]

    def _check_message(self, hashes: HashArray) -> Contamination | None:
        grams = ngrams(hashes, GRAM)
        if not len(grams) or not len(self._grams):
            return None
        first = np.searchsorted(self._grams, grams, side="left")
        inside = np.flatnonzero(self._grams[np.minimum(first, len(self._grams) - 1)] == grams)
        if not len(inside):
            return None
        share = _covered(inside, len(hashes))
        if share <= COVERED:
            return None
        last = np.searchsorted(self._grams, grams[inside], side="right")
        by_owner: dict[int, list[int]] = {}
        for position, begin, end in zip(inside.tolist(), first[inside], last, strict=True):
            for owner in self._owners[begin:end].tolist():
                by_owner.setdefault(owner, []).append(position)
        most = max(by_owner, key=lambda owner: (_covered(by_owner[owner], len(hashes)), -owner))
        return Contamination(*self._prompts[most], share)


def _covered(starts: Sequence[int] | npt.NDArray[np.int64], length: int) -> float:
    """Return the share of `length` words that lie in 8-grams beginning at `starts`."""
    edges = np.zeros(length + 1, dtype=np.int64)
    starts = np.asarray(starts)
    np.add.at(edges, starts, 1)
    np.add.at(edges, starts + GRAM, -1)
    return float(np.count_nonzero(np.cumsum(edges[:-1])) / length)
