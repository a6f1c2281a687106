"""Ordinary least squares with HC3 errors, for one set of columns and for each column alone.

HC3 (MacKinnon & White 1985) stays valid when the noise differs between trials; t quantiles with
the residual degrees of freedom are used with it. All numbers come from statsmodels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.regression.subsets import FloatArray, design

LEVEL = 0.95
"""Confidence level of every interval."""


@dataclass(frozen=True)
class Coefficient:
    """One coefficient: log loss per unit of the column; negative lowers the loss."""

    name: str
    value: float
    standard_error: float
    low: float
    high: float
    p: float

    @property
    def sign(self) -> int:
        """Return 1 or -1 where the interval leaves 0 out, else 0."""
        return int(np.sign(self.value)) if self.low > 0 or self.high < 0 else 0


@dataclass(frozen=True)
class Ols:
    """A least-squares fit of log loss with an intercept.

    coefficients: intercept first, HC3 errors. covariance: (k + 1, k + 1) HC3, in that order.
    residual_sd: root of RSS / dof. r2, adjusted_r2: in-sample. aic, aicc, bic count k + 1
    parameters, as statsmodels does. fitted, residuals: (n,).
    """

    coefficients: tuple[Coefficient, ...]
    covariance: FloatArray
    residual_sd: float
    dof: int
    r2: float
    adjusted_r2: float
    aic: float
    aicc: float
    bic: float
    fitted: FloatArray
    residuals: FloatArray

    @property
    def rmse(self) -> float:
        """Root of the mean squared residual, in log loss; in-sample."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def ols(x: FloatArray, y: FloatArray, names: Sequence[str]) -> Ols:
    """Fit log loss y (n,) on columns x (n, k) with an intercept."""
    from scipy.stats import t
    from statsmodels.tools.eval_measures import aicc

    fit = results(x, y, robust=True)
    back = _from_standard(x)
    values, covariance = back @ fit.params, back @ fit.cov_params() @ back.T
    errors = np.sqrt(np.diag(covariance))
    half = t.ppf((1 + LEVEL) / 2, fit.df_resid) * errors
    ratios = np.divide(np.abs(values), errors, out=np.full_like(errors, np.inf), where=errors > 0)
    p = 2 * t.sf(ratios, fit.df_resid)
    numbers = np.column_stack([values, errors, values - half, values + half, p]).tolist()
    return Ols(
        coefficients=tuple(
            Coefficient(name, *row)
            for name, row in zip(["intercept", *names], numbers, strict=True)
        ),
        covariance=np.asarray(covariance),
        residual_sd=float(np.sqrt(fit.scale)),
        dof=int(fit.df_resid),
        r2=float(fit.rsquared),
        adjusted_r2=float(fit.rsquared_adj),
        aic=float(fit.aic),
        aicc=float(aicc(fit.llf, fit.nobs, x.shape[1] + 1)),
        bic=float(fit.bic),
        fitted=np.asarray(fit.fittedvalues),
        residuals=np.asarray(fit.resid),
    )


def results(x: FloatArray, y: FloatArray, *, robust: bool = False) -> Any:
    """Return the statsmodels results for standardised columns, with HC3 or classical errors.

    On columns of very different scale the pseudo-inverse of statsmodels would drop some.
    """
    from statsmodels.regression.linear_model import OLS

    model = OLS(y, design(x))
    return model.fit(cov_type="HC3", use_t=True) if robust else model.fit()


def _from_standard(x: FloatArray) -> FloatArray:
    """Return the matrix from coefficients of standardised columns to those of x itself."""
    spread = x.std(axis=0)
    back = np.diag(np.append(1.0, 1 / spread))
    back[0, 1:] = -x.mean(axis=0) / spread
    return back


def left_over(columns: FloatArray, values: FloatArray) -> tuple[FloatArray, int]:
    """Return what columns and an intercept leave of values (n, …), and the rank of the columns.

    Columns may depend on each other, as proportions that sum to 1 do; the rank counts them once.
    """
    spread = columns.std(axis=0)
    varying = columns[:, spread > 0]
    z = np.column_stack([np.ones(len(columns)), (varying - varying.mean(axis=0)) / varying.std(0)])
    slopes, _, rank, _ = np.linalg.lstsq(z, values, rcond=1e-10)
    return np.asarray(values - z @ slopes), int(rank)


@dataclass(frozen=True)
class Univariate:
    """Log loss on one column alone: slope with interval, R2 and Spearman's rank correlation."""

    coefficient: Coefficient
    r2: float
    spearman: float


def univariate(x: FloatArray, y: FloatArray, names: Sequence[str]) -> tuple[Univariate, ...]:
    """Fit each column alone (InstructMining, univariate analysis)."""
    from scipy.stats import spearmanr

    found = []
    for column, name in enumerate(names):
        fit = ols(x[:, [column]], y, [name])
        rank = float(spearmanr(x[:, column], y).statistic)
        found.append(Univariate(fit.coefficients[1], fit.r2, rank))
    return tuple(found)
