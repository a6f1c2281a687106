"""Lexical diversity of the response: MTLD (McCarthy & Jarvis 2010)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from instructmine.contracts import Column, Context, Scored
from instructmine.errors import UsageError
from instructmine.pool import Turn
from instructmine.turns import TurnIndicator, TurnScorer

_PUNCTUATION = b"!\"#$%&'()*+,./:;<=>?@[\\]^_`{|}~"
_SPACES = b"\x1c\x1d\x1e\x1f"  # str.split takes them for white space, bytes.split does not
_DROPPED = b"0123456789-"
_TABLE = bytes.maketrans(_PUNCTUATION + _SPACES, b" " * len(_PUNCTUATION + _SPACES))
_DASHES = ("–".encode(), "—".encode())


@dataclass(frozen=True, kw_only=True)
class Mtld(TurnIndicator):
    """Mean length, in words, of the runs that keep a type-token ratio above `threshold`.

    Higher means a more varied vocabulary. The mean of a forward and a backward pass; values equal
    those of `lexicalrichness` 0.5.1, the library of the InstructMining paper, word for word:
    lower case, ASCII digits and dashes deleted, other ASCII punctuation as a space.

    Not covered: scripts written without spaces between words (Chinese, Japanese, Thai). A
    sentence counts as one word there, so the value is defined but says little.
    """

    version: ClassVar[int] = 1
    threshold: float = 0.72

    def __post_init__(self) -> None:
        """Refuse a threshold that no ratio can cross."""
        if not 0 < self.threshold < 1:
            raise UsageError(f"mtld.threshold must lie between 0 and 1, not {self.threshold}")

    @property
    def columns(self) -> tuple[Column, ...]:
        """`mtld`, in words; the paper's v1 fit has it raise the loss, later work does not."""
        return (Column("mtld", "unknown", "words"),)

    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Return the scorer; nothing is loaded."""
        return _MtldScorer(self.threshold)


class _MtldScorer(TurnScorer):
    columns = ("mtld",)

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        values = np.full(len(turns), np.nan)
        reasons: dict[int, str] = {}
        for position, turn in enumerate(turns):
            value = mtld(turn.response, self.threshold)
            if value is None:
                reasons[position] = "no words in the response"
            else:
                values[position] = value
        return Scored({"mtld": values}, reasons)


def mtld(text: str, threshold: float = 0.72) -> float | None:
    """Return the MTLD of a text, or None if it holds no words."""
    tokens = words(text)
    if not tokens:
        return None
    forward = _factors(tokens, threshold)
    if not forward:  # no word occurs twice: the text is one factor
        return float(len(tokens))
    backward = _factors(reversed(tokens), threshold)
    return (len(tokens) / forward + len(tokens) / backward) / 2


def words(text: str) -> list[bytes] | list[str]:
    """Split a text as `lexicalrichness` does, in a few passes over bytes instead of thirty."""
    data = text.lower().encode("utf-8", "surrogatepass")
    ascii_only = len(data) == len(text)
    if not ascii_only:
        for dash in _DASHES:
            data = data.replace(dash, b"")
    data = data.translate(_TABLE, _DROPPED)
    return data.split() if ascii_only else data.decode("utf-8", "surrogatepass").split()


def _factors(tokens: Iterable[Hashable], threshold: float) -> float:
    """Count the runs in which the type-token ratio stays above the threshold.

    A new word never lowers the ratio, so only a repeated one can end a run: the ratio is
    computed at repetitions alone.
    """
    seen: set[Hashable] = set()
    add = seen.add
    repeats = 0
    count = 0
    for token in tokens:
        if token in seen:
            repeats += 1
            distinct = len(seen)
            if distinct / (distinct + repeats) <= threshold:
                count += 1
                repeats = 0
                seen.clear()
        else:
            add(token)
    if not seen:
        return float(count)
    ratio = len(seen) / (len(seen) + repeats)
    return count + (1 - ratio) / (1 - threshold)
