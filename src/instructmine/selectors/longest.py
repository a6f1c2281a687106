"""Longest response first: the baseline that is hard to beat and expensive to train on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from instructmine.contracts import Selector
from instructmine.results import Candidates, Ranking
from instructmine.selectors._order import descending, ranking


@dataclass(frozen=True, kw_only=True)
class Longest(Selector):
    """Takes the response with the most tokens first (Zhao et al. 2024, arXiv 2402.04833).

    Rows without a length come last. Grows as n log n. Not covered: cost. The chosen rows hold
    two to three times the tokens of a random draw, so compare at equal tokens too.
    """

    columns: ClassVar[tuple[str, ...]] = ("output_length",)
    uses_quality: ClassVar[bool] = False

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank by `output_length`, ties by id. Neither seed nor limit matters."""
        lengths = candidates.scores.column("output_length")
        return ranking(candidates, descending(lengths, candidates.ids))
