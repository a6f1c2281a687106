"""Random sizes: the baseline of search (Bergstra & Bengio 2012, JMLR 13)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.searchers._sizes import FixedPlan, check_number


@dataclass(frozen=True, kw_only=True)
class RandomSizes(Searcher):
    """Proposes `number` different sizes, log-uniform; fewer where the range holds fewer."""

    number: int = 8

    def __post_init__(self) -> None:
        """Refuse a draw of nothing."""
        check_number("random.number", self.number)

    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin: all sizes are drawn from the seed."""
        rng = np.random.default_rng(seed)
        low, high = np.log(sizes.minimum - 0.5), np.log(sizes.maximum + 0.5)
        wanted = min(self.number, sizes.maximum - sizes.minimum + 1)
        drawn: list[int] = []
        while len(drawn) < wanted:  # of ever the same draws, so a longer plan begins with a shorter
            size = round(float(np.exp(rng.uniform(low, high))))
            size = min(max(size, sizes.minimum), sizes.maximum)
            if size not in drawn:
                drawn.append(size)
        return FixedPlan(drawn)
