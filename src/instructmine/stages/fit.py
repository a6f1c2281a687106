"""`fit`: from trials to a rule with its evidence, or to the evidence that there is none."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import instructmine
from instructmine.contracts import Progress
from instructmine.errors import MissingExtraError, UsageError
from instructmine.files import write_text
from instructmine.recipes import Recipe
from instructmine.regression.analysis import Analysis, Effort, analyse
from instructmine.regression.search import Folds
from instructmine.regression.verdict import Verdict, judge
from instructmine.rules.design import Design, as_rows
from instructmine.rules.fit import Fit
from instructmine.rules.linear import LinearRule
from instructmine.stages._observations import gather_observations
from instructmine.trial_table import Trials

PACKAGES = {"statsmodels": "statsmodels", "sklearn": "scikit-learn"}


def fit(
    trials: str | Path | Trials,
    *,
    out: str | Path | None = None,
    name: str | None = None,
    indicators: Sequence[str] = (),
    loss: str | None = None,
    folds: int = 10,
    repeats: int = 5,
    permutations: int = 999,
    bootstraps: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fit:
    """Fit a linear rule of log loss on set-level indicators, and examine it.

    Args:
        trials: table of trials, one row per trained subset: Parquet, CSV or JSONL with `log_loss`
            and a column per indicator. Columns `source:NAME`, `subset`, `trial` and `error` are
            used where they exist.
        out: JSON file for the rule; a summary (Markdown) is written beside it. Where the evidence
            is too weak only the summary is written. None writes nothing.
        name: of the rule (default: the stem of `out`).
        indicators: columns to choose from (default: every numeric column that is no record).
        loss: fit the logarithm of this column instead of `log_loss`.
        folds: of every cross-validation.
        repeats: of every cross-validation, with other folds.
        permutations: shuffles of the permutation tests; p cannot be below 1 / (permutations + 1).
        bootstraps: resamples for the stability of columns and signs.
        seed: of folds, shuffles, resamples and gradient boosting.
        progress: called with (what, done, total).

    Returns:
        The evidence; its `rule` raises EvidenceError where there is no usable rule.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    _check_call(out, permutations, bootstraps)
    table = trials if isinstance(trials, Trials) else Trials.read(trials)
    gathered = gather_observations(table, indicators, loss)
    report = None if progress is None else (lambda done, of: progress("fitting", done, of))
    effort = Effort(Folds(folds, repeats, seed), permutations, bootstraps)
    analysis = analyse(gathered.observations, effort, report)
    verdict = judge(analysis)
    warnings = [*gathered.warnings, *_missing_recipes(table, analysis.columns)]
    origin = "a table in memory" if isinstance(trials, Trials) else Path(trials).name
    result = Fit(
        analysis=analysis,
        verdict=verdict,
        candidate=_rule(
            name or (Path(out).stem if out else "fitted"), origin, table, analysis, verdict
        ),
        excluded=gathered.excluded,
        warnings=tuple(warnings),
    )
    return result if out is None else _write(result, Path(out))


def _check_call(out: str | Path | None, permutations: int, bootstraps: int) -> None:
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"a rule is written as JSON; name the output {Path(out).stem}.json")
    if permutations < 19:
        raise UsageError("--permutations must be 19 or more: fewer cannot give p at most .05")
    if bootstraps < 1:
        raise UsageError("--bootstraps must be 1 or more")
    for module, package in PACKAGES.items():
        if find_spec(module) is None:
            raise MissingExtraError(package, "fit", "fit")


def _missing_recipes(table: Trials, columns: Sequence[str]) -> list[str]:
    missing = [name for name in columns if name not in table.recipes]
    if not missing:
        return []
    return [
        f"the trials carry no recipe of {', '.join(missing)}: that a pool is measured in the same "
        "way cannot be checked when the rule is used"
    ]


def _rule(
    name: str, origin: str, table: Trials, analysis: Analysis, verdict: Verdict
) -> LinearRule:
    from instructmine.regression.evidence import evidence

    intercept, *slopes = analysis.rule.coefficients
    chosen = analysis.observations.x[:, analysis.chosen]
    model = table.about.get("base_model")
    scope = (
        f"Fitted on {len(chosen)} trials{f' of {model}' if isinstance(model, str) else ''}: "
        f"nested CV-R2 {analysis.nested.cv_r2:.2f}, "
        f"permutation p {analysis.permutation.p:.2g}. It holds for these indicators and sets."
    )
    return LinearRule(
        name=name,
        intercept=intercept.value,
        coefficients={one.name: one.value for one in slopes},
        recipes={
            column: _portable(column, table.recipes[column])
            for column in analysis.columns
            if column in table.recipes
        },
        scope=f"{scope} It only knows the source." if verdict.source_only else scope,
        source=f"fit of instructmine {instructmine.__version__} on {origin}",
        evidence=evidence(analysis, verdict),
        about=dict(table.about),
        covariance=as_rows(analysis.rule.covariance),
        residual_sd=analysis.rule.residual_sd,
        dof=analysis.rule.dof,
        design=Design.of(chosen, analysis.columns),
    )


def _portable(column: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as JSON has it, without the pool measured in: the rule is for others."""
    fields = Recipe.of(column, recipe).fields
    return {field: value for field, value in fields.items() if field != "pool"}


def _write(result: Fit, out: Path) -> Fit:
    """Write the summary, and the rule where there is one; the rule comes last."""
    files = {"summary": out.with_suffix(".md")}
    write_text(files["summary"], result.summary())
    if result.usable:
        files["rule"] = out
        text = json.dumps(result.rule.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
        write_text(out, text + "\n")
    elif out.exists():
        warning = f"{out} is from an earlier fit and was left as it is"
        result = dataclasses.replace(result, warnings=(*result.warnings, warning))
    return dataclasses.replace(result, files=files)
