"""Where a fitted rule was fitted, and how far from there it is being used.

A rule is fitted on means of whole subsets. What it predicts for a set is as good as the trials
around it; a set far outside all trials is an extrapolation, whatever the formula returns.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Design:
    """The fitted trials in the columns of a rule, k of them.

    mean, min, max: column → over the trials. inverse_covariance: (k, k) of the trials' covariance
    (n - 1 in the denominator). farthest: the largest Mahalanobis distance of a trial.
    """

    n: int
    mean: Mapping[str, float]
    min: Mapping[str, float]
    max: Mapping[str, float]
    inverse_covariance: Rows
    farthest: float

    @classmethod
    def of(cls, x: FloatArray, names: Sequence[str]) -> Design:
        """Describe trials x (n, k)."""
        mean = x.mean(axis=0)
        spread = x.std(axis=0, ddof=1)
        correlation = np.atleast_2d(np.corrcoef(x, rowvar=False))
        inverse = np.linalg.inv(correlation) / np.outer(spread, spread)
        away = x - mean
        squared = np.einsum("ij,jk,ik->i", away, inverse, away)
        return cls(
            n=len(x),
            mean=dict(zip(names, mean.tolist(), strict=True)),
            min=dict(zip(names, x.min(axis=0).tolist(), strict=True)),
            max=dict(zip(names, x.max(axis=0).tolist(), strict=True)),
            inverse_covariance=as_rows(inverse),
            farthest=float(np.sqrt(squared.max())),
        )

    def distance(self, means: Mapping[str, float]) -> float:
        """Return the Mahalanobis distance of a set's mean indicators from the trials' mean."""
        away = np.array([means[name] - center for name, center in self.mean.items()])
        return float(np.sqrt(max(away @ np.array(self.inverse_covariance) @ away, 0.0)))

    def leverage(self, distance: float) -> float:
        """Return the leverage of a set at a distance: 1/n + d²/(n - 1), as in the hat matrix."""
        return 1 / self.n + distance**2 / (self.n - 1)

    def outside(self, means: Mapping[str, float]) -> dict[str, tuple[float, float, float]]:
        """Return column → (value, min, max) for each mean outside what the trials span."""
        return {
            name: (means[name], low, self.max[name])
            for name, low in self.min.items()
            if not low <= means[name] <= self.max[name]
        }

    def to_json(self) -> dict[str, Any]:
        """Return the design as JSON-like values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Design:
        """Read a design back. Raises KeyError, TypeError or ValueError for anything else."""
        ranges = {
            what: {str(name): float(value) for name, value in data[what].items()}
            for what in ("mean", "min", "max")
        }
        return cls(
            n=int(data["n"]),
            inverse_covariance=as_rows(np.array(data["inverse_covariance"], dtype=float)),
            farthest=float(data["farthest"]),
            **ranges,
        )


def as_rows(matrix: npt.ArrayLike) -> Rows:
    """Return a matrix as tuples, which compare and survive JSON exactly."""
    array = np.asarray(matrix, dtype=np.float64)
    return tuple(tuple(row) for row in array.tolist())


@dataclass(frozen=True)
class SetPrediction:
    """What a rule predicts for one set, from the means of its indicators, and how far out that is.

    log_loss: predicted, lower is better. mean_low, mean_high: interval of the expected log loss
    of such sets. low, high: interval of one new trial on such a set. level: of both intervals.
    leverage, distance: how far the set lies from the trials (Mahalanobis); farthest: the largest
    distance of a trial. outside: column → (value, min, max) beyond what the trials span.

    Not covered: that the rule is linear and right out there; the intervals take it for granted.
    """

    log_loss: float
    mean_low: float
    mean_high: float
    low: float
    high: float
    level: float
    leverage: float
    distance: float
    farthest: float
    outside: Mapping[str, tuple[float, float, float]]

    @property
    def extrapolates(self) -> bool:
        """Whether the set lies outside the trials: beyond a range, or farther than all of them."""
        return bool(self.outside) or self.distance > self.farthest

    def explain(self) -> list[str]:
        """Return the prediction and the distance, in a few lines."""
        lines = [
            f"predicted log loss of the set {self.log_loss:.4g}; {self.level:.0%} intervals: "
            f"mean {self.mean_low:.4g} to {self.mean_high:.4g}, "
            f"one new trial {self.low:.4g} to {self.high:.4g}",
            f"the set lies {'OUTSIDE' if self.extrapolates else 'inside'} the fitted range: "
            f"leverage {self.leverage:.3g}, Mahalanobis distance {self.distance:.3g} "
            f"(trials: at most {self.farthest:.3g})",
        ]
        return [
            *lines,
            *(
                f"  {name} {value:.4g} is outside the trials' {low:.4g} to {high:.4g}"
                for name, (value, low, high) in self.outside.items()
            ),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the prediction as JSON-like values."""
        outside = {
            n: dict(zip(("value", "min", "max"), v, strict=True)) for n, v in self.outside.items()
        }
        return {
            **dataclasses.asdict(self),
            "outside": outside,
            "extrapolates": self.extrapolates,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SetPrediction:
        """Read a prediction back from a manifest."""
        names = [field.name for field in dataclasses.fields(cls) if field.name != "outside"]
        outside = {
            name: (one["value"], one["min"], one["max"]) for name, one in data["outside"].items()
        }
        return cls(**{name: data[name] for name in names}, outside=outside)
