"""Instruction-following difficulty: the selection of Cherry_LLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from instructmine.contracts import Selector
from instructmine.results import Candidates, Ranking
from instructmine.selectors._order import ranking


@dataclass(frozen=True, kw_only=True)
class Ifd(Selector):
    """Takes the highest IFD below 1 first (Li et al. 2023, arXiv 2308.12032).

    From 1 on the prompt does not help to predict the response, which mostly means that the two
    do not belong together: those follow, lowest first, and rows without an IFD come last.
    Grows as n log n.
    """

    columns: ClassVar[tuple[str, ...]] = ("ifd",)
    uses_quality: ClassVar[bool] = False

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank by IFD. Neither seed nor limit matters."""
        ifd = candidates.scores.column("ifd")
        group = np.where(np.isnan(ifd), 2, ifd >= 1)
        within = np.where(group == 0, -ifd, ifd)
        return ranking(candidates, np.lexsort((candidates.ids, within, group)))
