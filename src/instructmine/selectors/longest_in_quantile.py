"""Longest response first within each quantile of length: "longest" at the pool's own lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.results import Candidates, Ranking
from instructmine.selectors._order import descending, ranking


@dataclass(frozen=True, kw_only=True)
class LongestInQuantile(Selector):
    """Takes the longest response of every length quantile in turn.

    Candidates are cut into `quantiles` equal groups by `output_length`; round r takes the r-th
    longest of each group, from the longest group down. Every prefix thus spreads evenly over the
    pool's range of lengths and costs little more than a random draw: the control that tells
    whether "longest" wins by being long or by spending tokens. The definition is ours, as no
    paper fixes one. Rows without a length come last. Grows as n log n.
    """

    columns: ClassVar[tuple[str, ...]] = ("output_length",)
    uses_quality: ClassVar[bool] = False
    quantiles: int = 10

    def __post_init__(self) -> None:
        """Refuse fewer than one quantile."""
        if self.quantiles < 1:
            raise UsageError(
                f"longest-in-quantile.quantiles must be at least 1, not {self.quantiles}"
            )

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank round by round over the quantiles. Neither seed nor limit matters."""
        lengths = candidates.scores.column("output_length")
        order = descending(lengths, candidates.ids)
        known = order[: int(np.count_nonzero(~np.isnan(lengths)))]
        groups = np.array_split(known, min(self.quantiles, max(len(known), 1)))
        group = np.concatenate([np.full(len(rows), g) for g, rows in enumerate(groups)])
        turn = np.concatenate([np.arange(len(rows)) for rows in groups])
        chosen = known[np.lexsort((group, turn))]
        return ranking(candidates, np.concatenate([chosen, order[len(known) :]]))
