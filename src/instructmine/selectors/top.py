"""Best quality first."""

from __future__ import annotations

from dataclasses import dataclass

from instructmine.contracts import Selector
from instructmine.results import Candidates, Ranking
from instructmine.selectors._order import ranking


@dataclass(frozen=True, kw_only=True)
class Top(Selector):
    """Takes the best predicted quality first, ties by id: the selection of InstructMining.

    With a linear rule the first K are the exact minimiser of the predicted loss of a set of K.
    Grows as n log n. Not covered: diversity; near-identical good rows are all taken.
    """

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank by quality. Neither seed nor limit matters."""
        return ranking(candidates, candidates.by_quality())
