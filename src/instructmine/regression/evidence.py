"""The numbers of an analysis as JSON-like values: what a rule carries along as its evidence."""

from __future__ import annotations

import dataclasses
from typing import Any

from instructmine.regression.analysis import Analysis
from instructmine.regression.ols import LEVEL, Ols
from instructmine.regression.verdict import Verdict


def evidence(analysis: Analysis, verdict: Verdict) -> dict[str, Any]:
    """Return what speaks for and against the rule, keyed by what it is."""
    found, rule = analysis.search, analysis.rule
    folds, permutation, control = (
        analysis.effort.folds,
        analysis.permutation,
        analysis.source_control,
    )
    return {
        "trials": len(analysis.observations.y),
        "candidates": list(analysis.observations.names),
        "usable": verdict.usable,
        "against": list(verdict.reasons),
        "cautions": list(verdict.cautions),
        "r2": rule.r2,
        "adjusted_r2": rule.adjusted_r2,
        "rmse": rule.rmse,
        "aicc": rule.aicc,
        "bic": rule.bic,
        "cv_r2": float(found.cv_r2[found.chosen]),
        "cv_rmse": float(found.cv_rmse[found.chosen]),
        "best_cv_r2": float(found.cv_r2[found.best]),
        "nested_cv_r2": analysis.nested.cv_r2,
        "nested_cv_r2_sd": analysis.nested.sd,
        "nested_cv_rmse": analysis.nested.rmse,
        "noise_ceiling_r2": analysis.observations.noise_ceiling,
        "permutation": dataclasses.asdict(permutation),
        "coefficients": coefficients(rule),
        "bootstrap": dataclasses.asdict(analysis.bootstrap),
        "other_models_cv_r2": {
            "all_columns": analysis.all_columns_cv_r2,
            "ridge": analysis.ridge.cv_r2,
            "gradient_boosting": analysis.boosting_cv_r2,
        },
        "source_only": verdict.source_only,
        "sources": None if control is None else dataclasses.asdict(control),
        "leave_one_source_out": [dataclasses.asdict(one) for one in analysis.left_out],
        "collinearity": {
            "vif": dict(analysis.collinearity.vif),
            "condition_number": analysis.collinearity.condition_number,
            "pairs": [list(pair) for pair in analysis.collinearity.pairs],
        },
        "residual_tests": {
            "lilliefors_p": analysis.residuals.lilliefors_p,
            "shapiro_p": analysis.residuals.shapiro_p,
            "breusch_pagan_p": analysis.residuals.breusch_pagan_p,
            "largest_cooks_distance": float(analysis.residuals.cooks_distance.max()),
            "influential_trials": len(analysis.residuals.influential),
            "outliers": [
                analysis.observations.trials[place] for place in analysis.residuals.outliers
            ],
        },
        "learning_curve": {
            "trials": analysis.learning_curve.trials.tolist(),
            "cv_r2": analysis.learning_curve.cv_r2.tolist(),
        },
        "settings": {
            **dataclasses.asdict(folds),
            "permutations": analysis.effort.permutations,
            "bootstraps": analysis.effort.bootstraps,
            "level": LEVEL,
        },
    }


def coefficients(fit: Ols) -> dict[str, dict[str, float]]:
    """Return name → value, HC3 standard error, interval and p, intercept first."""
    return {
        one.name: {
            "value": one.value,
            "standard_error": one.standard_error,
            "low": one.low,
            "high": one.high,
            "p": one.p,
        }
        for one in fit.coefficients
    }
