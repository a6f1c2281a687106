"""The section about the rule: what it says, how well it predicts, how steady it is, how far out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.regression.analysis import Observations
from instructmine.regression.criteria import criteria
from instructmine.regression.search import Folds, search
from instructmine.regression.subsets import FloatArray, Subsets
from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Mark,
    Section,
    Series,
    Table,
    Text,
)
from instructmine.rules.design import SetPrediction
from instructmine.rules.linear import LinearRule

SUBSETS = 15  # shown


@dataclass(frozen=True)
class RuleRun:
    """A rule with what it can be held against.

    observations: the trials it was fitted on, where they are there; their names must be those of
    the evidence. prediction: of the set that was chosen by this rule.
    """

    rule: LinearRule
    origin: tuple[str, ...]
    observations: Observations | None = None
    prediction: SetPrediction | None = None

    @property
    def evidence(self) -> Mapping[str, Any]:
        """The numbers for and against that the rule carries."""
        return self.rule.evidence


def rule_section(run: RuleRun) -> Section:
    """Return the section; a preset or a single indicator has its formula and little more."""
    blocks: list[Block] = [
        Text(run.rule.formula, "code"),
        *(Text(text) for text in (run.rule.scope, run.rule.source) if text),
    ]
    if run.evidence.get("coefficients"):
        blocks += [*_verdict(run.evidence), *_coefficients(run), *_stability(run.evidence)]
    if run.observations is not None:
        blocks += [*_subsets(run, run.observations), *_predictions(run, run.observations)]
    if run.evidence.get("learning_curve"):
        blocks += [*_sources(run.evidence), _learning_curve(run.evidence)]
    blocks += _extrapolation(run.prediction)
    return Section("rule", "The rule", tuple(blocks), run.origin)


def _verdict(found: Mapping[str, Any]) -> Iterator[Block]:
    yield Facts(
        (
            Fact("trials", found["trials"], f"{len(found['candidates'])} candidate indicators"),
            Fact("R²", found["r2"], "in-sample"),
            Fact("CV-R²", found["cv_r2"], "held out; the columns won by it"),
            Fact("nested CV-R²", found["nested_cv_r2"], "held out, columns chosen anew"),
            Fact("permutation p", found["permutation"]["p"], "of the whole search"),
        )
    )
    yield from (Text(f"Against it: {text}", "warning") for text in found["against"])
    yield from (Text(f"Beware: {text}", "warning") for text in found["cautions"])
    others = found["other_models_cv_r2"]
    yield Table(
        "Other models on the same folds",
        ("model", "CV-R²"),
        (
            ("this rule, columns chosen anew", found["nested_cv_r2"]),
            ("least squares on all columns", others["all_columns"]),
            ("ridge on all columns", others["ridge"]),
            ("gradient boosting, a ceiling", others["gradient_boosting"]),
        ),
    )


def _coefficients(run: RuleRun) -> Iterator[Block]:
    found = run.evidence["coefficients"]
    spread = _deviations(run.rule)
    vif = run.evidence["collinearity"]["vif"]
    lines = []
    for name, one in found.items():
        effect = one["value"] * spread[name] if name in spread else None
        lines.append((
            name, one["value"], one["standard_error"], one["low"], one["high"], one["p"], effect,
            vif.get(name),
        ))  # fmt: skip
    yield Table(
        "Coefficients",
        ("coefficient", "value", "HC3 error", "95 % low", "95 % high", "p", "per sd", "VIF"),
        tuple(lines),
        "per sd: change of log loss for one standard deviation of the indicator over the trials; "
        "VIF: among all candidates; p and intervals do not know that the columns were chosen",
    )
    names = [name for name in found if name in spread]
    if names:
        yield Chart(
            "effects",
            "Standardised effects",
            "Change of log loss for one standard deviation of each indicator, with 95 % "
            "intervals; left of zero lowers the loss.",
            (
                Series(
                    "effect",
                    "points",
                    tuple(found[name]["value"] * spread[name] for name in names),
                    tuple(names),
                    low=tuple(found[name]["low"] * spread[name] for name in names),
                    high=tuple(found[name]["high"] * spread[name] for name in names),
                ),
            ),
            x_title="change of log loss per standard deviation",
            marks=(Mark("x", 0.0),),
            lying=True,
        )


def _deviations(rule: LinearRule) -> dict[str, float]:
    """Return column → standard deviation over the trials."""
    if rule.design is None:
        return {}
    covariance = np.linalg.inv(np.array(rule.design.inverse_covariance))
    return dict(zip(rule.columns, np.sqrt(np.diag(covariance)).tolist(), strict=True))


def _stability(found: Mapping[str, Any]) -> Iterator[Block]:
    resampled = found["bootstrap"]
    names = tuple(resampled["selected"])
    yield Table(
        "Steady under resampling",
        ("indicator", "chosen in", "same sign in"),
        tuple(
            (name, f"{100 * resampled['selected'][name]:.1f} %",
             f"{100 * resampled['full_sign'][name]:.1f} %")
            for name in names
        ),
        f"of {resampled['resamples']:,} resamples; the same columns were chosen in "
        f"{resampled['same_choice']:.0%}",
    )  # fmt: skip


def _subsets(run: RuleRun, data: Observations) -> Iterator[Block]:
    """Rank the subsets of columns anew: the same search on the same folds as `fit` ran."""
    subsets = Subsets.of(len(data.names))
    found = next(search(data.x, data.y, np.ones((1, len(data.y))), subsets, _folds(run)))
    inside = criteria(data.x, data.y, subsets)
    ranked = np.argsort(-found.cv_r2, kind="stable")[:SUBSETS]
    shown = [*ranked, *([found.chosen] if found.chosen not in ranked else [])]
    names = np.array(data.names)
    lines = tuple(
        (
            ", ".join(names[subsets.masks[i]]),
            float(found.cv_r2[i]),
            float(inside.r2[i]),
            float(inside.aicc[i]),
            float(inside.bic[i]),
            float(inside.largest_p[i]),
            "chosen" if i == found.chosen else "",
        )
        for i in shown
    )
    yield Table(
        f"The best of {len(found.cv_r2):,} subsets",
        ("columns", "CV-R²", "R²", "AICc", "BIC", "largest p", ""),
        lines,
        "chosen is the smallest subset at most one standard error worse than the best",
    )


def _folds(run: RuleRun) -> Folds:
    settings = run.evidence["settings"]
    return Folds(settings["folds"], settings["repeats"], settings["seed"])


def held_out(x: FloatArray, y: FloatArray, folds: Folds) -> FloatArray:
    """Return (n,) the prediction for each trial by fits without it, mean over the repeats."""
    z = np.column_stack([np.ones(len(x)), x])
    out = np.zeros(len(y))
    for numbers in folds.draw(np.ones(len(y))):
        for fold in range(folds.folds):
            held = numbers == fold
            if held.any():
                weights = np.linalg.lstsq(z[~held], y[~held], rcond=None)[0]
                out[held] += z[held] @ weights
    return np.asarray(out / folds.repeats)


def _predictions(run: RuleRun, data: Observations) -> Iterator[Block]:
    columns = [data.names.index(name) for name in run.rule.columns]
    x = data.x[:, columns]
    fitted = run.rule.intercept + x @ np.array(list(run.rule.coefficients.values()))
    outside = held_out(x, data.y, _folds(run))
    names = tuple(f"trial {name}" for name in data.trials)
    yield Chart(
        "predicted",
        "Predicted against actual",
        "Predicted against actual log loss of every trial, once by the rule and once held out: by "
        "fits of the same columns without it.",
        (
            _dots("in-sample", fitted, data.y, "rest", names),
            _dots("held out", outside, data.y, "chosen", names),
        ),
        x_title="predicted log loss",
        y_title="actual log loss",
        marks=(Mark("diagonal"),),
        small=False,
    )
    yield Chart(
        "residuals",
        "Residuals",
        "Actual minus predicted log loss against the prediction, held out.",
        (_dots("held out", outside, data.y - outside, "chosen", names),),
        x_title="predicted log loss",
        y_title="actual − predicted",
        marks=(Mark("y", 0.0),),
    )


def _dots(name: str, x: FloatArray, y: FloatArray, role: str, labels: tuple[str, ...]) -> Series:
    return Series(name, "points", tuple(x.tolist()), tuple(y.tolist()), role=role, labels=labels)


def _sources(found: Mapping[str, Any]) -> Iterator[Block]:
    control = found.get("sources")
    if control:
        yield Table(
            "Quality or source",
            ("measure", "value"),
            (
                ("CV-R², proportions alone", control["cv_r2_sources"]),
                ("CV-R², proportions and rule", control["cv_r2_both"]),
                ("partial R² of the rule given proportions", control["partial_r2"]),
                ("permutation p given proportions", control["permutation_p"]),
            ),
        )
    left = found.get("leave_one_source_out") or []
    if left:
        yield Table(
            "Each source left out in turn",
            ("source", "train", "test", "R²", "Spearman", "note"),
            tuple(
                tuple(one[n] for n in ("source", "train", "test", "r2", "spearman", "why"))
                for one in left
            ),
        )


def _learning_curve(found: Mapping[str, Any]) -> Chart:
    curve = found["learning_curve"]
    return Chart(
        "learning-curve",
        "Would more trials help",
        "CV-R² of the whole choice against the number of trials; a curve that still rises at its "
        "end says that more trials would help.",
        (Series("nested CV-R²", "line", tuple(curve["trials"]), tuple(curve["cv_r2"])),),
        x_title="trials",
        y_title="CV-R²",
    )


def _extrapolation(found: SetPrediction | None) -> Sequence[Block]:
    if found is None:
        return []
    first, *rest = found.explain()
    where = " ".join(line.strip() for line in rest)
    return [
        Text(f"For the chosen set: {first}."),
        Text(f"So {where}.", "warning" if found.extrapolates else "good"),
    ]
