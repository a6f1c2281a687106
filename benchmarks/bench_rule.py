"""The regression behind `fit` against statsmodels: equal coefficients and errors, then seconds.

Made-up trials of nine correlated indicators, as many as InstructMining has. First one fit with HC3
errors, where ours is statsmodels' own fit on standardised columns with intervals taken back to the
user's units. Then the in-sample criteria of all 511 subsets, a fit each in statsmodels; then the
choice by ten-fold cross-validation repeated five times, for which the plain way solves a least
squares problem with numpy for every subset and fold.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from benchmarks import _report
except ImportError:  # run as a file
    import _report

COLUMNS = 9
TOLERANCE = 1e-6  # relative


def trials(count: int, seed: int = 0) -> tuple[Any, Any]:
    """Return indicators (count, 9) on scales of their own, and the log loss of every trial."""
    rng = np.random.default_rng(seed)
    mixing = np.full((COLUMNS, COLUMNS), 0.3) + 0.7 * np.eye(COLUMNS)
    z = rng.normal(size=(count, COLUMNS)) @ np.linalg.cholesky(mixing).T
    slopes = np.array([-0.4, 0.3, 0.2, -0.1, 0.05, 0, 0, 0, 0])
    y = 0.5 + z @ slopes + 0.3 * (0.5 + np.abs(z[:, 0])) * rng.normal(size=count)
    return z * np.geomspace(0.01, 100, COLUMNS) + 1, y


def ours_fit(x: Any, y: Any) -> Any:
    """Return coefficients and HC3 errors, (10, 2)."""
    from instructmine.regression.ols import ols

    fit = ols(x, y, [f"x{number}" for number in range(COLUMNS)])
    return np.array([[one.value, one.standard_error] for one in fit.coefficients])


def theirs_fit(x: Any, y: Any) -> Any:
    """Return the same by statsmodels as its documents have it, with the intervals ours gives."""
    import statsmodels.api as sm

    fit = sm.OLS(y, sm.add_constant(x)).fit(cov_type="HC3", use_t=True)
    fit.conf_int()
    fit.pvalues  # noqa: B018
    return np.column_stack([fit.params, fit.bse])


def ours_subsets(x: Any, y: Any) -> Any:
    """Return R2, adjusted R2, AIC, BIC and the largest p of every subset, (511, 5)."""
    from instructmine.regression.criteria import criteria
    from instructmine.regression.subsets import Subsets

    found = criteria(x, y, Subsets.of(x.shape[1]))
    return np.column_stack([found.r2, found.adjusted_r2, found.aic, found.bic, found.largest_p])


def theirs_subsets(x: Any, y: Any) -> Any:
    """Return the same, one statsmodels fit per subset."""
    import statsmodels.api as sm

    from instructmine.regression.subsets import Subsets

    rows = []
    for mask in Subsets.of(x.shape[1]).masks:
        fit = sm.OLS(y, sm.add_constant(x[:, mask])).fit()
        largest = fit.pvalues[1:].max()
        rows.append((fit.rsquared, fit.rsquared_adj, fit.aic, fit.bic, largest))
    return np.array(rows)


def ours_choice(x: Any, y: Any) -> Any:
    """Return the cross-validated R2 of every subset, (511,)."""
    from instructmine.regression.search import Folds, search
    from instructmine.regression.subsets import Subsets

    subsets = Subsets.of(x.shape[1])
    return next(iter(search(x, y, np.ones((1, len(y))), subsets, Folds()))).cv_r2


def theirs_choice(x: Any, y: Any) -> Any:
    """Return the same by one least-squares problem per subset and fold."""
    from instructmine.regression.search import Folds
    from instructmine.regression.subsets import Subsets

    numbers = Folds().draw(np.ones(len(y)))
    splits = [row == fold for row in numbers for fold in range(Folds().folds)]
    base = sum(np.square(y[test] - y[~test].mean()).sum() for test in splits)
    found = []
    for mask in Subsets.of(x.shape[1]).masks:
        z = np.column_stack([np.ones(len(y)), x[:, mask]])
        error = 0.0
        for test in splits:
            slopes = np.linalg.lstsq(z[~test], y[~test], rcond=None)[0]
            error += np.square(y[test] - z[test] @ slopes).sum()
        found.append(1 - error / base)
    return np.array(found)


TASKS = {
    "OLS with HC3 errors": (ours_fit, theirs_fit, "statsmodels", 20),
    "criteria of all 511 subsets": (ours_subsets, theirs_subsets, "statsmodels", 1),
    "10-fold CV × 5 of all 511 subsets": (ours_choice, theirs_choice, "numpy lstsq", 1),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error where a number differs."""
    options = _report.parser((__doc__ or "").splitlines()[0])
    options.add_argument("--trials", type=int, default=125, help="trials that a rule is fitted on")
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")
    x, y = trials(given.trials)
    rows: list[dict[str, Any]] = []
    comparisons = []
    for task, (ours, theirs, who, times) in TASKS.items():
        wanted = theirs(x, y)
        difference = float(np.abs(ours(x, y) / wanted - 1).max())
        if difference > TOLERANCE:
            sys.exit(f"{task}: a number is off by {difference:.1e} of itself")

        def repeated(run: Any, times: int = times) -> Any:
            return lambda: [run(x, y) for _ in range(times)]

        turns = _report.take_turns({_report.OURS: repeated(ours), who: repeated(theirs)},
                                   given.rounds)  # fmt: skip
        for name, took in turns.median.items():
            rows.append({"task": task, "who": name, "milliseconds": 1000 * took / times,
                         "largest relative difference": difference})  # fmt: skip
        shipped = who == "statsmodels"
        comparisons.append(
            _report.compared(
                turns, f"{task}, {given.trials} trials", who,
                equality=f"numbers differ by at most {difference:.0e} of themselves",
                how=_report.SHIPPED if shipped else _report.PLAIN,
                packages=("statsmodels" if shipped else "numpy",),
            )
        )  # fmt: skip
    _report.show(f"Regression over {given.trials} trials, one thread", rows, given.out, comparisons)


if __name__ == "__main__":
    main()
