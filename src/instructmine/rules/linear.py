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
from instructmine.rules.design import Design, Rows, SetPrediction, as_rows
from instructmine.rules.gates import Gate, read_gates
from instructmine.scores import ScoreTable

LEVEL = 0.95  # of the intervals of a prediction


@dataclass(frozen=True)
class LinearRule:
    """A linear rule over indicator columns; lower predictions are better.

    recipes: column → the recipe fields it was fitted on (some or all); an indicator whose
    recipe disagrees is another measurement, and the coefficient means nothing for it.
    gates: conditions that a row must pass to be ranked at all: what the rule does not see.
    about: facts of the trials it was fitted on (base model, eval sets).
    covariance: HC3 covariance of (intercept, *coefficients); residual_sd and dof: root of
    RSS / dof, and n minus the number of coefficients; design: where the trials lie. A rule that
    was not fitted here has none of the four and predicts no interval.
    """

    name: str
    intercept: float
    coefficients: Mapping[str, float]
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    scope: str = ""
    source: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    covariance: Rows = ()
    residual_sd: float | None = None
    dof: int | None = None
    design: Design | None = None

    def __post_init__(self) -> None:
        """Refuse coefficients that are no finite numbers, and a covariance of another size."""
        numbers = [self.intercept, *self.coefficients.values()]
        if not self.coefficients or not all(math.isfinite(number) for number in numbers):
            raise ValueError("a rule needs at least one coefficient, and all of them finite")
        size = len(self.coefficients) + 1
        if self.covariance and np.shape(self.covariance) != (size, size):
            raise ValueError(f"the covariance must be {size} by {size}: the intercept comes first")
        if self.design and tuple(self.design.mean) != self.columns:
            raise ValueError("the design must name the columns of the rule, in their order")

    @property
    def columns(self) -> tuple[str, ...]:
        """Indicator columns that have a coefficient."""
        return tuple(self.coefficients)

    @property
    def reads(self) -> tuple[str, ...]:
        """Indicator columns that the rule or one of its gates reads, each once."""
        return tuple(dict.fromkeys((*self.columns, *(one.column for one in self.gates))))

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
        slopes = np.einsum("ij,j->i", scores.matrix(self.columns), weights)
        return np.asarray(self.intercept + slopes)

    def contributions(self, scores: ScoreTable) -> dict[str, npt.NDArray[np.float64]]:
        """Return each column's share of the prediction, (n,) each, intercept left out."""
        return {name: b * scores.column(name) for name, b in self.coefficients.items()}

    def unchecked(self) -> list[str]:
        """Return the columns of a fitted rule that carry no recipe to be checked against."""
        return [name for name in self.reads if name not in self.recipes] if self.design else []

    def predict_set(self, means: Mapping[str, float]) -> SetPrediction | None:
        """Predict the log loss of a set from its mean indicators, with intervals and distance.

        Returns None for a rule without covariance or design: presets and single indicators.
        """
        if not self.covariance or self.design is None or not self.dof or self.residual_sd is None:
            return None
        from scipy.special import stdtrit

        point = np.array([1.0, *(means[name] for name in self.columns)])
        predicted = float(point @ [self.intercept, *self.coefficients.values()])
        variance = float(point @ np.array(self.covariance) @ point)
        quantile = float(stdtrit(self.dof, (1 + LEVEL) / 2))
        mean_half = quantile * math.sqrt(variance)
        half = quantile * math.sqrt(variance + self.residual_sd**2)
        distance = self.design.distance(means)
        return SetPrediction(
            log_loss=predicted,
            mean_low=predicted - mean_half,
            mean_high=predicted + mean_half,
            low=predicted - half,
            high=predicted + half,
            level=LEVEL,
            leverage=self.design.leverage(distance),
            distance=distance,
            farthest=self.design.farthest,
            outside=self.design.outside(means),
        )

    @property
    def formula(self) -> str:
        """The rule in one line."""
        terms = " ".join(f"{b:+.6g}·{name}" for name, b in self.coefficients.items())
        gates = f", of rows with {' and '.join(map(str, self.gates))}" if self.gates else ""
        return f"log loss = {self.intercept:.6g} {terms}{gates}"

    def explain(self) -> str:
        """Return the formula, its scope and its source."""
        lines = [f"{self.name}: {self.formula.removeprefix('log loss = ')} (lower is better)"]
        return "\n".join([*lines, *(text for text in (self.scope, self.source) if text)])

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON-like values; what only some rules have, where it has it."""
        optional = {
            "gates": [str(one) for one in self.gates],
            "about": dict(self.about),
            "covariance": [list(row) for row in self.covariance],
            "residual_sd": self.residual_sd,
            "dof": self.dof,
            "design": self.design.to_json() if self.design else None,
        }
        return {
            "name": self.name,
            "intercept": self.intercept,
            "coefficients": dict(self.coefficients),
            "recipes": {name: dict(fields) for name, fields in self.recipes.items()},
            "scope": self.scope,
            "source": self.source,
            "evidence": dict(self.evidence),
            **{name: value for name, value in optional.items() if value},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LinearRule:
        """Read a rule back.

        Raises KeyError, TypeError, ValueError or UsageError (a gate) for anything else.
        """
        return cls(
            name=str(data["name"]),
            intercept=float(data["intercept"]),
            coefficients={str(k): float(v) for k, v in data["coefficients"].items()},
            recipes=dict(data.get("recipes", {})),
            scope=str(data.get("scope", "")),
            source=str(data.get("source", "")),
            evidence=dict(data.get("evidence", {})),
            gates=read_gates(data.get("gates", ())),
            about=dict(data.get("about", {})),
            covariance=as_rows(data["covariance"]) if data.get("covariance") else (),
            residual_sd=float(data["residual_sd"]) if data.get("residual_sd") else None,
            dof=int(data["dof"]) if data.get("dof") else None,
            design=Design.from_json(data["design"]) if data.get("design") else None,
        )
