"""The whole analysis of trials: every fit, test and validation, run in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from instructmine.regression.checks import check_columns, check_numbers, fewest_searchable
from instructmine.regression.criteria import Criteria, criteria
from instructmine.regression.diagnostics import (
    Collinearity,
    Normality,
    Residuals,
    collinearity,
    normality,
    residuals,
)
from instructmine.regression.models import Ridge, boosting, linear, ridge
from instructmine.regression.ols import Ols, Univariate, ols, univariate
from instructmine.regression.search import Folds, Search, search
from instructmine.regression.sources import (
    LeftOut,
    SourceControl,
    leave_sources_out,
    source_control,
)
from instructmine.regression.stability import Bootstrap, Permutation, bootstrap, permutation_test
from instructmine.regression.subsets import BoolArray, FloatArray, Subsets
from instructmine.regression.validation import LearningCurve, Nested, learning_curve, nested


@dataclass(frozen=True)
class Observations:
    """What is regressed on what: n trials, p indicators.

    names: of the p indicators. x: (n, p) set-level indicators. y: (n,) log loss. trials: n names.
    proportions: (n, s) of the named sources, s = 0 where they were not recorded.
    noise_variance: (n,) of each y by the training seed, None where no subset was trained twice.
    """

    names: tuple[str, ...]
    x: FloatArray
    y: FloatArray
    trials: tuple[str, ...]
    sources: tuple[str, ...] = ()
    proportions: FloatArray = field(default_factory=lambda: np.empty((0, 0)))
    noise_variance: FloatArray | None = None

    @property
    def noise_ceiling(self) -> float | None:
        """Return the R2 that a perfect rule could reach, given the noise of the seeds."""
        if self.noise_variance is None:
            return None
        return float(1 - self.noise_variance.mean() / self.y.var(ddof=1))


@dataclass(frozen=True)
class Effort:
    """How much is drawn: folds and repeats of every cross-validation, shuffles, resamples."""

    folds: Folds = Folds()
    permutations: int = 999
    bootstraps: int = 200


@dataclass(frozen=True)
class Analysis:
    """Everything that was computed. `chosen` (p,) bool are the columns of the rule.

    rule: least squares on the chosen columns. full: on all of them. *_cv_r2: of other models on
    the outer folds of `nested`. source_control: None where sources were not recorded or do not
    vary; left_out is then empty.
    """

    observations: Observations
    effort: Effort
    subsets: Subsets
    search: Search
    criteria: Criteria
    univariate: tuple[Univariate, ...]
    full: Ols
    rule: Ols
    nested: Nested
    permutation: Permutation
    bootstrap: Bootstrap
    collinearity: Collinearity
    normality: tuple[Normality, ...]
    residuals: Residuals
    ridge: Ridge
    boosting_cv_r2: float
    all_columns_cv_r2: float
    source_control: SourceControl | None
    left_out: tuple[LeftOut, ...]
    learning_curve: LearningCurve

    @property
    def chosen(self) -> BoolArray:
        """(p,) the columns of the rule."""
        return np.asarray(self.subsets.masks[self.search.chosen])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the rule."""
        return self.names_of(self.search.chosen)

    def names_of(self, subset: int) -> tuple[str, ...]:
        """Return the names of the columns of one subset."""
        names = zip(self.observations.names, self.subsets.masks[subset], strict=True)
        return tuple(name for name, inside in names if inside)


STEPS = 9
Report = Callable[[int, int], None]  # (steps done, steps)


def analyse(data: Observations, effort: Effort, report: Report | None = None) -> Analysis:
    """Check the observations, then fit, choose, validate and test.

    Raises InstructmineError or UsageError in one line where the trials allow no fit.
    """
    x, y, folds = data.x, data.y, effort.folds
    check_numbers(len(y), data.names, folds)
    check_columns(x, y, data.names, data.trials)
    done = _counter(report)

    subsets = Subsets.of(len(data.names))
    found = next(search(x, y, np.ones((1, len(y))), subsets, folds))
    chosen = subsets.masks[found.chosen]
    done()
    simple = univariate(x, y, data.names)
    full = ols(x, y, data.names)
    rule = ols(x[:, chosen], y, _named(data.names, chosen))
    in_sample = criteria(x, y, subsets)
    done()
    validated = nested(x, y, folds)
    done()
    permuted = permutation_test(x, y, folds, effort.permutations)
    done()
    resampled = bootstrap(x, y, data.names, chosen, folds, effort.bootstraps)
    done()
    smallest = fewest_searchable(len(data.names), folds)
    curve = learning_curve(x, y, folds, smallest)
    done()
    shrunk = ridge(x, y, data.names, folds)
    ceiling = boosting(x, y, folds)
    done()
    control, left_out = _sources(data, chosen, effort, smallest)
    done()
    analysis = Analysis(
        observations=data,
        effort=effort,
        subsets=subsets,
        search=found,
        criteria=in_sample,
        univariate=simple,
        full=full,
        rule=rule,
        nested=validated,
        permutation=permuted,
        bootstrap=resampled,
        collinearity=collinearity(x, data.names),
        normality=normality(np.column_stack([y, x]), ["log_loss", *data.names]),
        residuals=residuals(x[:, chosen], y),
        ridge=shrunk,
        boosting_cv_r2=ceiling,
        all_columns_cv_r2=linear(x, y, folds),
        source_control=control,
        left_out=left_out,
        learning_curve=curve,
    )
    done()
    return analysis


def _sources(
    data: Observations, chosen: BoolArray, effort: Effort, smallest: int
) -> tuple[SourceControl | None, tuple[LeftOut, ...]]:
    if len(data.sources) < 2 or not (data.proportions.std(axis=0) > 0).any():
        return None, ()
    control = source_control(
        data.x, data.y, data.proportions, chosen, effort.folds, effort.permutations
    )
    return control, leave_sources_out(
        data.x, data.y, data.proportions, data.sources, effort.folds, smallest
    )


def _named(names: Sequence[str], chosen: BoolArray) -> list[str]:
    return [name for name, inside in zip(names, chosen, strict=True) if inside]


def _counter(report: Report | None) -> Callable[[], None]:
    steps = 0

    def done() -> None:
        nonlocal steps
        steps += 1
        if report is not None:
            report(steps, STEPS)

    return done
