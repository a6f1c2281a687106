"""A grid: sizes in equal ratios from end to end. It draws the whole curve."""

from __future__ import annotations

from dataclasses import dataclass

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.searchers._sizes import FixedPlan, check_number, log_spaced


@dataclass(frozen=True, kw_only=True)
class Grid(Searcher):
    """Proposes `number` sizes in equal ratios, both ends included, smallest first."""

    number: int = 8

    def __post_init__(self) -> None:
        """Refuse a grid of nothing."""
        check_number("grid.number", self.number)

    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin; nothing is drawn, so the seed has no say."""
        return FixedPlan(log_spaced(sizes, self.number))
