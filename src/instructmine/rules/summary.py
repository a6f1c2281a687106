"""The summary of a fit as a Markdown page: verdict first, then the evidence, section by section."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from instructmine.regression.criteria import PAPER_P
from instructmine.regression.ols import Coefficient
from instructmine.regression.sources import TEST_QUANTILE, TRAIN_QUANTILE
from instructmine.regression.verdict import NESTED_LIMIT, PERMUTATION_LIMIT

if TYPE_CHECKING:
    from instructmine.rules.fit import Fit

TOP = 10  # subsets shown
INFLUENTIAL = 10  # trials shown


def summarise(fit: Fit) -> str:
    """Return the page."""
    sections = (
        _verdict, _rule, _prediction, _choice, _alone, _together, _sources, _residuals,
        _variables, _curve, _settings,
    )  # fmt: skip
    parts = ("\n".join(section(fit)).strip() for section in sections)
    return "\n\n".join(parts) + "\n"


def _verdict(fit: Fit) -> Iterator[str]:
    data = fit.analysis.observations
    yield f"# Fit `{fit.candidate.name}`: {'usable' if fit.usable else 'no usable rule'}"
    yield ""
    yield (
        f"{len(data.y)} trials, {len(data.names)} candidate indicators ({', '.join(data.names)}). "
        "Lower log loss is better; CV-R2 of 0 is as good as predicting the mean."
    )
    yield ""
    yield from _bullets("The evidence says no:", fit.verdict.reasons)
    yield from _bullets("Beware:", fit.verdict.cautions)
    yield from _bullets("About the table:", fit.warnings)
    yield from _bullets(
        "Trials left out:",
        [f"{len(names)}: {why} ({_few(names)})" for why, names in fit.excluded.items()],
    )


def _rule(fit: Fit) -> Iterator[str]:
    title = "Rule" if fit.usable else "What would have been chosen"
    yield f"## {title}"
    yield ""
    yield f"`{fit.candidate.formula}`"
    yield ""
    yield from _table(
        ("coefficient", "value", "HC3 error", "95 % low", "95 % high", "p"),
        [_coefficient(one) for one in fit.analysis.rule.coefficients],
    )
    yield ""
    yield "p and intervals do not know that the columns were chosen; see the permutation test."


def _prediction(fit: Fit) -> Iterator[str]:
    a, found = fit.analysis, fit.analysis.search
    ceiling = a.observations.noise_ceiling
    yield "## How well it predicts"
    yield ""
    yield from _table(
        ("measure", "value", "meaning"),
        [
            ("R2", a.rule.r2, "in-sample: the same trials were fitted"),
            ("adjusted R2", a.rule.adjusted_r2, "in-sample, for the number of columns"),
            ("CV-R2", float(found.cv_r2[found.chosen]), "held out, but the columns won by it"),
            (
                "nested CV-R2",
                a.nested.cv_r2,
                f"held out, columns chosen anew (sd over repeats {a.nested.sd:.3f}); "
                f"must be above {NESTED_LIMIT:g}",
            ),
            ("nested RMSE", a.nested.rmse, "of held-out predictions, in log loss"),
            (
                "permutation p",
                a.permutation.p,
                f"of the whole search ({a.permutation.permutations} shuffles, best CV-R2 in them: "
                f"median {a.permutation.shuffled_median:.3f}, 95 % below "
                f"{a.permutation.shuffled_95:.3f}); must be at most {PERMUTATION_LIMIT:g}",
            ),
            (
                "noise ceiling",
                "not known" if ceiling is None else ceiling,
                "R2 of a perfect rule, from subsets trained with several seeds",
            ),
            ("CV-R2, all columns", a.all_columns_cv_r2, "least squares without choosing"),
            ("CV-R2, ridge", a.ridge.cv_r2, f"all columns, penalty {a.ridge.penalty:.3g}"),
            ("CV-R2, gradient boosting", a.boosting_cv_r2, "a ceiling: it may bend"),
        ],
    )


def _choice(fit: Fit) -> Iterator[str]:
    a, found, inside = fit.analysis, fit.analysis.search, fit.analysis.criteria
    marks = {
        "chosen": found.chosen,
        "best CV-R2": found.best,
        "best AICc": int(np.argmin(inside.aicc)),
        "best BIC": int(np.argmin(inside.bic)),
        "paper": inside.paper,
    }
    ranked = np.argsort(-found.cv_r2, kind="stable")
    shown = [*ranked[:TOP], *(i for i in dict.fromkeys(marks.values()) if i not in ranked[:TOP])]
    rank = np.argsort(ranked) + 1
    yield f"## Choice among {len(found.cv_r2):,} subsets"
    yield ""
    yield (
        "Chosen is the smallest subset whose held-out error is at most one standard error (of the "
        "paired difference) worse than the best. "
        f"`paper` is the highest in-sample R2 among subsets whose p are all at most {PAPER_P:g}."
    )
    yield ""
    yield from _table(
        ("rank", "columns", "CV-R2", "R2", "AICc", "BIC", "largest p", "note"),
        [
            (
                int(rank[i]),
                ", ".join(a.names_of(i)),
                float(found.cv_r2[i]),
                float(inside.r2[i]),
                float(inside.aicc[i]),
                float(inside.bic[i]),
                float(inside.largest_p[i]),
                ", ".join(name for name, place in marks.items() if place == i),
            )
            for i in shown
        ],
    )


def _alone(fit: Fit) -> Iterator[str]:
    yield "## Each indicator alone"
    yield ""
    effect = {1: "raises the loss", -1: "lowers the loss", 0: "not clear"}
    yield from _table(
        (
            "indicator",
            "slope",
            "HC3 error",
            "95 % low",
            "95 % high",
            "p",
            "R2",
            "Spearman",
            "effect",
        ),
        [
            (*_coefficient(one.coefficient), one.r2, one.spearman, effect[one.coefficient.sign])
            for one in fit.analysis.univariate
        ],
    )


def _together(fit: Fit) -> Iterator[str]:
    a = fit.analysis
    yield "## All indicators together"
    yield ""
    yield (
        f"R2 {a.full.r2:.3f}, adjusted {a.full.adjusted_r2:.3f}; condition number "
        f"{a.collinearity.condition_number:.1f}. Ridge is per standard deviation; `chosen` and "
        f"`same sign` are shares of {a.bootstrap.resamples} resamples."
    )
    yield ""
    resampled = a.bootstrap
    yield from _table(
        ("indicator", "value", "HC3 error", "95 % low", "95 % high", "p", "VIF", "ridge", "chosen",
         "same sign"),
        [
            (
                *_coefficient(one),
                a.collinearity.vif[one.name],
                a.ridge.coefficients[one.name],
                resampled.selected[one.name],
                resampled.full_sign[one.name],
            )
            for one in a.full.coefficients[1:]
        ],
    )  # fmt: skip
    yield ""
    yield from _bullets(
        "Collinear pairs:",
        [f"{x} and {y}: correlation {r:.3f}" for x, y, r in a.collinearity.pairs],
    )
    yield f"The same columns were chosen in {resampled.same_choice:.0%} of the resamples."


def _sources(fit: Fit) -> Iterator[str]:
    control = fit.analysis.source_control
    yield "## Quality or source"
    yield ""
    if control is None:
        yield "Not tested: the proportions of the sources are not recorded, or do not vary."
        return
    p = control.permutation_p
    yield from _table(
        ("measure", "value", "meaning"),
        [
            ("R2, proportions alone", control.r2_sources, "in-sample"),
            ("CV-R2, proportions alone", control.cv_r2_sources, "held out"),
            ("CV-R2, proportions and rule", control.cv_r2_both, "held out"),
            ("partial R2", control.partial_r2, "of the rule's columns, given the proportions"),
            ("partial F test, p", control.partial_f_p, "too small: the columns were chosen"),
            (
                "permutation p, given proportions",
                "none left" if p is None else p,
                "of the whole search after taking the proportions out",
            ),
        ],
    )
    yield ""
    yield (
        f"Each source left out in turn: chosen and fitted on trials whose share of it is at most "
        f"its {TRAIN_QUANTILE:.0%} quantile, tested on those from its {TEST_QUANTILE:.0%} quantile."
    )
    yield ""
    yield from _table(
        ("source", "train", "test", "R2", "Spearman", "note"),
        [(o.source, o.train, o.test, o.r2, o.spearman, o.why) for o in fit.analysis.left_out],
    )


def _residuals(fit: Fit) -> Iterator[str]:
    tests = fit.analysis.residuals
    yield "## Residuals of the rule"
    yield ""
    yield from _table(
        ("test", "p", "small p means"),
        [
            ("Shapiro-Wilk", tests.shapiro_p, "not normal"),
            ("Lilliefors", tests.lilliefors_p, "not normal"),
            ("Breusch-Pagan", tests.breusch_pagan_p, "unequal spread (HC3 allows it)"),
        ],
    )
    yield ""
    observations = fit.observations().to_pylist()
    rows = [observations[place] for place in tests.influential[:INFLUENTIAL]]
    limit, many = tests.cook_limit, len(tests.influential)
    yield f"Trials with Cook's distance above 4/n = {limit:.3g}: {many}."
    if rows:
        names = ("trial", "log_loss", "predicted", "studentized", "cooks_distance", "leverage")
        yield ""
        yield from _table(names, [[row[name] for name in names] for row in rows])


def _variables(fit: Fit) -> Iterator[str]:
    yield "## Normality of the variables (Kolmogorov-Smirnov, as in the paper)"
    yield ""
    yield "Least squares does not ask for it; p is too large, since mean and sd are estimated."
    yield ""
    yield from _table(
        ("variable", "statistic", "p"),
        [(one.name, one.statistic, one.p) for one in fit.analysis.normality],
    )


def _curve(fit: Fit) -> Iterator[str]:
    curve = fit.analysis.learning_curve
    yield "## Would more trials help"
    yield ""
    yield from _table(
        ("trials", "CV-R2 of the whole choice"),
        [(int(n), float(r2)) for n, r2 in zip(curve.trials, curve.cv_r2, strict=True)],
    )


def _settings(fit: Fit) -> Iterator[str]:
    effort = fit.analysis.effort
    yield "## Settings"
    yield ""
    yield (
        f"{effort.folds.folds} folds, {effort.folds.repeats} repeats, {effort.permutations} "
        f"permutations, {effort.bootstraps} resamples, seed {effort.folds.seed}."
    )


def _coefficient(one: Coefficient) -> tuple[Any, ...]:
    return (f"`{one.name}`", one.value, one.standard_error, one.low, one.high, one.p)


def _bullets(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield title
        yield ""
        yield from (f"- {line}" for line in lines)
        yield ""


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(_cell(value) for value in row) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|")


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
