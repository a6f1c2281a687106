"""What a subset's indicators are: the mean over its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Batch, Scorer
from instructmine.scores import ScoreTable
from instructmine.stages._index import PoolIndex
from instructmine.stages._measure import Measurement, measure
from instructmine.stages._run import Run


class SubsetMeans:
    """Means of the indicators over subsets of a pool.

    An indicator of pool scope (`knn`) is measured anew inside each subset, as the method has it
    (arXiv 2307.06290): how far apart a subset's members lie depends on who is in it.
    """

    def __init__(
        self, run: Run, index: PoolIndex, scores: ScoreTable, measurements: Sequence[Measurement]
    ) -> None:
        self._ids = index.ids
        self.missing = np.zeros(len(index), dtype=bool)  # rows that lack a value some mean needs
        self._columns: dict[str, npt.NDArray[np.float64]] = {}
        self._inside: list[tuple[Measurement, Scorer, dict[str, npt.NDArray[Any]]]] = []
        for one in measurements:
            if one.indicator.scope == "example":
                self._columns |= {name: scores.column(name) for name in one.columns}
                self.missing |= np.isnan(scores.matrix(one.columns)).any(axis=1)
                continue
            inputs = {}
            for other in one.inputs:
                measure(run, index, other)
                stored = run.store.read(other.recipe, other.columns, index.ids)
                inputs[other.name] = stored.values[other.columns[0]]
                self.missing |= np.isnan(inputs[other.name]).reshape(len(index), -1).any(axis=1)
            self._inside.append((one, one.indicator.open(run.context, one.columns), inputs))

    def __call__(self, positions: npt.NDArray[np.int64]) -> dict[str, float]:
        """Return column → mean over the rows at these positions."""
        means = {name: float(np.mean(values[positions])) for name, values in self._columns.items()}
        for one, scorer, inputs in self._inside:
            own = {name: values[positions] for name, values in inputs.items()}
            scored = scorer.score(Batch(self._ids[positions], inputs=own))
            means |= {name: float(np.mean(scored.values[name])) for name in one.columns}
        return means
