"""What may be wrong with a fit: collinear columns, odd residuals, single trials that decide.

The Kolmogorov-Smirnov test on the variables is what InstructMining prints; least squares asks
nothing of the variables, only of the residuals, so the other tests are the ones to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instructmine.regression.ols import results
from instructmine.regression.subsets import FloatArray

PAIR_LIMIT = 0.9
"""Two columns whose absolute correlation reaches this are named as collinear."""
VIF_LIMIT = 10.0
"""Usual limit of the variance inflation factor (Marquardt 1970)."""
CONDITION_LIMIT = 30.0
"""Usual limit of the condition number (Belsley, Kuh & Welsch 1980)."""


@dataclass(frozen=True)
class Collinearity:
    """How much the columns repeat each other.

    vif: per column, 1 is none. condition_number: of the standardised columns, 1 is none.
    pairs: (name, name, correlation) with |correlation| ≥ PAIR_LIMIT, strongest first.
    """

    vif: dict[str, float]
    condition_number: float
    pairs: tuple[tuple[str, str, float], ...]

    @property
    def severe(self) -> bool:
        """Whether a pair is named or a limit is passed."""
        inflated = max(self.vif.values()) > VIF_LIMIT
        return bool(self.pairs) or inflated or self.condition_number > CONDITION_LIMIT


def collinearity(x: FloatArray, names: Sequence[str]) -> Collinearity:
    """Measure collinearity among the columns of x (n, p)."""
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    correlation, p = z.T @ z / len(z), len(names)
    # the diagonal of the inverse is 1 / (1 - R2 of the column on the others), for all at once
    vif = dict(zip(names, np.diag(np.linalg.inv(correlation)).tolist(), strict=True))
    pairs = [
        (names[i], names[j], float(correlation[i, j]))
        for i in range(p)
        for j in range(i + 1, p)
        if abs(correlation[i, j]) >= PAIR_LIMIT
    ]
    pairs.sort(key=lambda pair: -abs(pair[2]))
    return Collinearity(vif, float(np.linalg.cond(z)), tuple(pairs))


@dataclass(frozen=True)
class Normality:
    """Kolmogorov-Smirnov test of one variable against a normal of its own mean and sd.

    Its p is too large, because mean and sd are estimated from the same values (as in the paper).
    """

    name: str
    statistic: float
    p: float


def normality(values: FloatArray, names: Sequence[str]) -> tuple[Normality, ...]:
    """Test each column of values (n, k)."""
    from scipy.stats import kstest

    found = []
    for column, name in zip(values.T, names, strict=True):
        test = kstest((column - column.mean()) / column.std(ddof=1), "norm")
        found.append(Normality(name, float(test.statistic), float(test.pvalue)))
    return tuple(found)


@dataclass(frozen=True)
class Residuals:
    """Tests of the residuals of one fit, and the pull of each trial on it.

    lilliefors_p, shapiro_p: normality. breusch_pagan_p: equal spread; HC3 errors do not need it.
    cooks_distance, leverage: (n,). cook_limit: 4 / n. influential: positions above it.
    studentized: (n,) residuals in units of their error, the trial itself left out.
    outlier_limit: what the largest of n such exceeds by chance in 5 % of tables (Bonferroni).
    """

    lilliefors_p: float
    shapiro_p: float
    breusch_pagan_p: float
    cooks_distance: FloatArray
    leverage: FloatArray
    cook_limit: float
    studentized: FloatArray
    outlier_limit: float

    @property
    def influential(self) -> tuple[int, ...]:
        """Positions of the trials above the limit, the strongest first."""
        order = np.argsort(-self.cooks_distance, kind="stable")
        return tuple(int(i) for i in order if self.cooks_distance[i] > self.cook_limit)

    @property
    def outliers(self) -> tuple[int, ...]:
        """Positions of influential trials whose residual is beyond chance."""
        return tuple(i for i in self.influential if abs(self.studentized[i]) > self.outlier_limit)


def residuals(x: FloatArray, y: FloatArray) -> Residuals:
    """Examine the residuals of y (n,) on x (n, k)."""
    from scipy.stats import shapiro, t
    from statsmodels.stats.diagnostic import het_breuschpagan, lilliefors

    fit = results(x, y)
    influence = fit.get_influence()
    return Residuals(
        lilliefors_p=float(lilliefors(fit.resid, dist="norm")[1]),
        shapiro_p=float(shapiro(fit.resid).pvalue),
        breusch_pagan_p=float(het_breuschpagan(fit.resid, fit.model.exog)[1]),
        cooks_distance=np.asarray(influence.cooks_distance[0]),
        leverage=np.asarray(influence.hat_matrix_diag),
        cook_limit=4 / len(y),
        studentized=np.asarray(influence.resid_studentized_external),
        outlier_limit=float(t.isf(0.05 / (2 * len(y)), fit.df_resid - 1)),
    )
