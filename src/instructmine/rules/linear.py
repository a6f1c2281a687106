"""The linear rule of InstructMining (arXiv 2307.06290, eq. 4): log loss = b0 + Σ b_i · I_i.

With mean aggregation the rule commutes with averaging: the prediction for a set is the mean of
the predictions for its members, so taking the lowest first is the exact minimiser for any size
(`knn` excepted, which depends on the set it is searched in).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.recipes import difference
from instructmine.scores import ScoreTable


@dataclass(frozen=True)
class LinearRule:
    """A linear rule over indicator columns; lower predictions are better.

    recipes: column → the recipe fields it was fitted on (some or all); an indicator whose
    recipe disagrees is another measurement, and the coefficient means nothing for it.
    """

    name: str
    intercept: float
    coefficients: Mapping[str, float]
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scope: str = ""
    source: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse coefficients that are no finite numbers."""
        numbers = [self.intercept, *self.coefficients.values()]
        if not self.coefficients or not all(math.isfinite(number) for number in numbers):
            raise ValueError("a rule needs at least one coefficient, and all of them finite")

    @property
    def columns(self) -> tuple[str, ...]:
        """Indicator columns the rule reads."""
        return tuple(self.coefficients)

    def check(self, recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return `column: field: fitted on → yours` for every recipe field that disagrees."""
        return [
            f"{column}: {line}"
            for column, wanted in self.recipes.items()
            for line in difference(wanted, recipes.get(column, {}), subset=True)
        ]

    def predict(self, scores: ScoreTable) -> npt.NDArray[np.float64]:
        """Return (n,) predicted log loss, lower is better; NaN where a column is missing."""
        weights = np.array(list(self.coefficients.values()))
        # einsum sums each row in one order; a BLAS product may differ with the number of rows
        return self.intercept + np.einsum("ij,j->i", scores.matrix(self.columns), weights)

    def contributions(self, scores: ScoreTable) -> dict[str, npt.NDArray[np.float64]]:
        """Return each column's share of the prediction, (n,) each, intercept left out."""
        return {name: b * scores.column(name) for name, b in self.coefficients.items()}

    def explain(self) -> str:
        """Return the formula, its scope and its source."""
        terms = " ".join(f"{b:+.6g}·{name}" for name, b in self.coefficients.items())
        lines = [f"{self.name}: {self.intercept:.6g} {terms} (lower is better)"]
        return "\n".join([*lines, *(text for text in (self.scope, self.source) if text)])

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON-like values."""
        return {
            "name": self.name,
            "intercept": self.intercept,
            "coefficients": dict(self.coefficients),
            "recipes": {name: dict(fields) for name, fields in self.recipes.items()},
            "scope": self.scope,
            "source": self.source,
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LinearRule:
        """Read a rule back. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            name=str(data["name"]),
            intercept=float(data["intercept"]),
            coefficients={str(k): float(v) for k, v in data["coefficients"].items()},
            recipes=dict(data.get("recipes", {})),
            scope=str(data.get("scope", "")),
            source=str(data.get("source", "")),
            evidence=dict(data.get("evidence", {})),
        )
