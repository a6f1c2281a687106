"""Template for indicators that score one assistant turn at a time.

A subclass scores turns; this module spreads examples into turns and gathers the result, so that
every indicator treats conversations alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from instructmine.contracts import Batch, Context, Indicator, Scored
from instructmine.pool import Turn

Aggregate = Literal["mean", "last", "max"]


@dataclass(frozen=True, kw_only=True)
class TurnIndicator(Indicator):
    """An indicator that scores every assistant turn with its history.

    turns: how an example's turns become its value: their mean, the last one, or the largest.
    """

    turns: Aggregate = "mean"

    def open(self, context: Context, columns: Sequence[str]) -> ExampleScorer:
        """Open the turn scorer and wrap it so that it scores examples."""
        return ExampleScorer(self.open_turns(context, columns), self.turns)

    @abstractmethod
    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Load what is needed to score turns."""


class TurnScorer(ABC):
    """Scores turns. `empty_response_is_scorable` is for measures defined on an empty response."""

    empty_response_is_scorable = False
    columns: Sequence[str]

    @abstractmethod
    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        """Return a value per turn and column; every NaN has a reason."""


class ExampleScorer:
    """Spreads examples into turns, scores them in one go, and gathers values per example."""

    def __init__(self, scorer: TurnScorer, aggregate: Aggregate) -> None:
        self.scorer = scorer
        self.aggregate = aggregate

    def score(self, batch: Batch) -> Scored:
        """Score examples; one unscorable turn leaves the example without values, with a reason."""
        turns: list[Turn] = []
        owners: list[int] = []
        numbers: list[int] = []
        reasons: dict[int, str] = {}
        for position, example in enumerate(batch.examples):
            found = example.turns
            # With "last" the other turns have no say, so they are not read at all.
            first = max(0, len(found) - 1) if self.aggregate == "last" else 0
            for number, turn in enumerate(found[first:], start=first + 1):
                label = f"turn {number}: " if len(found) > 1 else ""
                if not turn.response.strip() and not self.scorer.empty_response_is_scorable:
                    reasons.setdefault(position, f"{label}empty response")
                    continue
                turns.append(turn)
                owners.append(position)
                numbers.append(number if len(found) > 1 else 0)
            if not found:
                reasons[position] = "no assistant message"
        blank = list(reasons)  # an example with an unscorable turn has no value at all
        scored = self.scorer.score_turns(turns)
        for index, reason in scored.reasons.items():
            label = f"turn {numbers[index]}: " if numbers[index] else ""
            reasons.setdefault(owners[index], label + reason)
        owner = np.asarray(owners, dtype=np.int64)
        values = {
            name: self._gather(np.asarray(scored.values[name]), owner, len(batch.examples))
            for name in self.scorer.columns
        }
        for name, column in values.items():
            column[blank] = np.nan
            unscored = [p for p in np.flatnonzero(np.isnan(column)) if p not in reasons]
            if unscored:
                raise AssertionError(f"{name} gave no value and no reason for {unscored[0]}")
        truncated = frozenset(int(owner[index]) for index in scored.truncated)
        return Scored(values, reasons, truncated)

    def _gather(self, values: np.ndarray, owner: np.ndarray, n: int) -> np.ndarray:
        counts = np.bincount(owner, minlength=n)
        result = np.full(n, np.nan)
        some = counts > 0
        if self.aggregate == "mean":
            result[some] = np.bincount(owner, weights=values, minlength=n)[some] / counts[some]
        elif self.aggregate == "last":
            result[owner] = values  # owners ascend, so the last write per example stands
        else:
            result[some] = -np.inf
            np.maximum.at(result, owner, values)
        return result
