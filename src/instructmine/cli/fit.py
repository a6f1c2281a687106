"""`instructmine fit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.rules.fit import Fit


def fit(
    trials: Annotated[
        Path, typer.Argument(help="Table of trials: Parquet, CSV or JSONL with log_loss.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file to write the rule to.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the rule (default: the file's).")] = (
        None
    ),
    indicators: Annotated[
        list[str] | None, typer.Option(help="Columns to choose from (default: all indicators).")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Fit the logarithm of this column instead of log_loss.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of every cross-validation.")] = 10,
    repeats: Annotated[int, typer.Option(help="Repeats of every cross-validation.")] = 5,
    permutations: Annotated[int, typer.Option(help="Shuffles of the permutation tests.")] = 999,
    bootstraps: Annotated[int, typer.Option(help="Resamples for stability.")] = 200,
    seed: o.Seed = 0,
    json: o.Json = False,
) -> None:
    """Fit a rule to trials, with all diagnostics; exit 3 where the evidence is too weak.

    Example: instructmine fit trials.parquet -o rule.json
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.errors import UsageError
    from instructmine.stages.fit import fit as run

    if out is None:
        raise UsageError("name the output: -o rule.json")
    with show_progress() as progress:
        result = run(
            trials,
            out=out,
            name=name,
            indicators=o.split_names(indicators),
            loss=loss,
            folds=folds,
            repeats=repeats,
            permutations=permutations,
            bootstraps=bootstraps,
            seed=seed,
            progress=progress,
        )
    if json:
        emit_json(result.to_json())
    else:
        _show(result)
    _ = result.rule  # says no, with exit code 3, where the evidence does


def _show(result: Fit) -> None:
    """Print the verdict with its few decisive numbers; the rest is in the summary."""
    from instructmine.cli._show import say, show_files, table

    analysis, data = result.analysis, result.analysis.observations
    left = sum(map(len, result.excluded.values()))
    say(
        f"{len(data.y)} trials, {len(data.names)} indicators, "
        f"{len(analysis.subsets):,} subsets searched" + (f"; {left} left out" if left else "")
    )
    say(*(f"  {len(names)} left out: {why}" for why, names in result.excluded.items()))
    title = "rule" if result.usable else "best found, not usable"
    say("", f"{title}: {result.candidate.formula}")
    rows = [
        (one.name, one.value, one.standard_error, one.low, one.high, one.p)
        for one in analysis.rule.coefficients
    ]
    say(*table(("coefficient", "value", "HC3 error", "95% low", "95% high", "p"), rows), "")
    say(*table(("measure", "value", ""), _measures(result)), "")
    say(*(f"beware: {caution}" for caution in result.verdict.cautions))
    say(*(f"warning: {warning}" for warning in result.warnings))
    show_files(result.files)


def _measures(result: Fit) -> list[tuple[str, float, str]]:
    """Return the decisive numbers, each with what it means."""
    a = result.analysis
    rows = [
        ("R2", a.rule.r2, "in-sample"),
        ("CV-R2", float(a.search.cv_r2[a.search.chosen]), "held out; the columns won by it"),
        ("nested CV-R2", a.nested.cv_r2, "held out, columns chosen anew"),
        ("permutation p", a.permutation.p, "of the whole search"),
        ("ridge", a.ridge.cv_r2, "CV-R2, all columns"),
        ("gradient boosting", a.boosting_cv_r2, "CV-R2, a ceiling"),
    ]
    if a.source_control is not None:
        rows += [
            ("sources alone", a.source_control.cv_r2_sources, "CV-R2 of their proportions"),
            ("partial R2", a.source_control.partial_r2, "of the rule given the sources"),
        ]
    rows += [
        (f"without {one.source}", one.spearman, "Spearman, left out")
        for one in a.left_out
        if one.spearman is not None
    ]
    return rows
