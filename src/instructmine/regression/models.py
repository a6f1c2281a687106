"""Other models on the same folds: how much a linear rule of few columns leaves on the table.

Ridge keeps all columns and shrinks them; gradient boosting may bend and is read as a ceiling.
Both are tuned, or fixed, without a look at the held-out trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.regression.search import Folds
from instructmine.regression.subsets import BoolArray, FloatArray
from instructmine.regression.validation import held_out_r2, outer, predict

RIDGE_PENALTIES = tuple(float(10**power) for power in np.arange(-3, 4.01, 0.5))
BOOSTING = {"n_estimators": 100, "learning_rate": 0.1, "max_depth": 2, "subsample": 0.8}


@dataclass(frozen=True)
class Ridge:
    """Ridge regression on all columns, standardised.

    penalty: chosen by leave-one-out. coefficients: at it, log loss per standard deviation.
    path: (penalties, p) of the same for each penalty of RIDGE_PENALTIES; a sign that changes
    along it is not to be trusted.
    """

    cv_r2: float
    penalty: float
    coefficients: dict[str, float]
    path: FloatArray


def ridge(x: FloatArray, y: FloatArray, names: Sequence[str], folds: Folds) -> Ridge:
    """Fit ridge, its penalty chosen anew in every training part."""
    from sklearn.linear_model import Ridge as OnePenalty

    z = (x - x.mean(axis=0)) / x.std(axis=0)
    whole = _ridge().fit(x, y)[-1]
    path = [OnePenalty(alpha=penalty).fit(z, y).coef_ for penalty in RIDGE_PENALTIES]
    return Ridge(
        cv_r2=cross_validate(_ridge, x, y, folds),
        penalty=float(whole.alpha_),
        coefficients=dict(zip(names, map(float, whole.coef_), strict=True)),
        path=np.array(path),
    )


def _ridge() -> Any:
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(alphas=RIDGE_PENALTIES))


def boosting(x: FloatArray, y: FloatArray, folds: Folds) -> float:
    """Return the CV-R2 of gradient boosting, from one repeat of the folds."""
    from sklearn.ensemble import GradientBoostingRegressor

    def make() -> Any:
        return GradientBoostingRegressor(random_state=folds.seed, **BOOSTING)

    return cross_validate(make, x, y, folds, repeats=1)


def linear(x: FloatArray, y: FloatArray, folds: Folds) -> float:
    """Return the CV-R2 of least squares on the given columns; dependent columns are allowed."""
    tests = _tests(len(y), folds, folds.repeats)
    guesses = [(predict(x, y, ~test, test), _mean(y, test)) for test in tests]
    return held_out_r2(y, tests, guesses)


def cross_validate(
    make: Any, x: FloatArray, y: FloatArray, folds: Folds, repeats: int | None = None
) -> float:
    """Return the CV-R2 of a scikit-learn model on the outer folds of the nested validation."""
    tests = _tests(len(y), folds, repeats or folds.repeats)
    guesses = [
        (np.asarray(make().fit(x[~test], y[~test]).predict(x[test])), _mean(y, test))
        for test in tests
    ]
    return held_out_r2(y, tests, guesses)


def _mean(y: FloatArray, test: BoolArray) -> FloatArray:
    return np.full(int(test.sum()), y[~test].mean())


def _tests(n: int, folds: Folds, repeats: int) -> BoolArray:
    numbers = outer(folds).draw(np.ones(n))[:repeats]
    held = numbers[:, None, :] == np.arange(folds.folds)[:, None]
    return np.asarray(held.reshape(-1, n))
