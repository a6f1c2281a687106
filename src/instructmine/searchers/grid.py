"""A grid: sizes in equal ratios from end to end, or sizes of your own. It draws the whole curve."""

from __future__ import annotations

from dataclasses import dataclass

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.errors import UsageError
from instructmine.searchers._sizes import FixedPlan, check_number, log_spaced


@dataclass(frozen=True, kw_only=True)
class Grid(Searcher):
    """Proposes `number` sizes in equal ratios, both ends included, smallest first.

    sizes: exactly these instead; open raises UsageError for one outside the range.
    """

    number: int = 8
    sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a grid of nothing."""
        check_number("grid.number", self.number)

    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin; nothing is drawn, so the seed has no say."""
        outside = [one for one in self.sizes if not sizes.minimum <= one <= sizes.maximum]
        if outside:
            raise UsageError(
                f"grid.sizes holds {outside[0]:,}, which is not between {sizes.minimum:,} and "
                f"{sizes.maximum:,}; change it, --min or --max"
            )
        return FixedPlan(sorted(set(self.sizes)) or log_spaced(sizes, self.number))
