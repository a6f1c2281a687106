"""Nearest to the middle first: neither the easiest nor the hardest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructmine.contracts import Selector
from instructmine.results import Candidates, Ranking
from instructmine.selectors._order import ranking


@dataclass(frozen=True, kw_only=True)
class Middle(Selector):
    """Takes those whose quality ranks nearest to the median first, ties by quality.

    With `--rule perplexity` it is the "middle perplexity" baseline of the pruning literature
    (Marion et al. 2023, arXiv 2309.04564). Grows as n log n.
    """

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank by distance from the median rank. Neither seed nor limit matters."""
        _, group, count = np.unique(candidates.quality, return_inverse=True, return_counts=True)
        rank = (np.cumsum(count) - (count + 1) / 2)[group]  # equal ones share their mean rank
        distance = np.abs(rank - (len(candidates) - 1) / 2)
        order = np.lexsort((candidates.ids, candidates.quality, distance))
        return ranking(candidates, order)
