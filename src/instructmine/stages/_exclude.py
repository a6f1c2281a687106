"""Rows that cannot be chosen, each with its reason: unscorable, contaminated, duplicate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instructmine.scores import ScoreTable
from instructmine.stages._index import PoolIndex
from instructmine.stages._run import Run


class Exclusions:
    """Gathers reasons row by row; the first reason found for a row stands."""

    def __init__(self, run: Run, index: PoolIndex) -> None:
        self.run = run
        self.index = index
        self.reasons: list[str | None] = [None] * len(index)

    def free(self) -> npt.NDArray[np.int64]:
        """Return the positions without a reason."""
        return np.array([p for p, reason in enumerate(self.reasons) if reason is None], np.int64)

    def unscorable(self, rows: npt.NDArray[np.bool_], scores: ScoreTable) -> None:
        """Exclude rows that lack a score the rule or the selector reads."""
        errors = scores.table.column("errors")
        for position in np.flatnonzero(rows):
            self.reasons[position] = f"unscorable: {errors[int(position)].as_py() or 'no value'}"
