"""Turns a table of trials, from wherever, into observations: which rows and columns count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine import plugins
from instructmine.errors import InstructmineError, UsageError
from instructmine.regression.analysis import Observations
from instructmine.trial_table import OTHER_LOSS, RECORD, SOURCE, Trials

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Gathered:
    """What will be fitted.

    excluded: reason → names of the trials left out.
    warnings: what else was odd about the table.
    """

    observations: Observations
    excluded: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]


def gather_observations(trials: Trials, indicators: Sequence[str], loss: str | None) -> Gathered:
    """Return the usable trials; those of one subset that differ in the seed are averaged.

    Raises InstructmineError or UsageError in one line for a table that cannot be used.
    """
    _check_table(trials)
    warnings: list[str] = []
    response = _response(trials, loss, warnings)
    names = _indicators(trials, indicators, warnings)
    labels = _labels(trials)
    reasons = _reasons(trials, response)
    usable = np.array([reason is None for reason in reasons])
    excluded: dict[str, tuple[str, ...]] = {}
    for label, reason in zip(labels, reasons, strict=True):
        if reason is not None:
            excluded[reason] = (*excluded.get(reason, ()), label)
    if not usable.any():
        why = "; ".join(f"{reason} ({len(out)})" for reason, out in excluded.items())
        raise InstructmineError(f"no usable trial among {len(trials)}: {why}")
    rows = np.flatnonzero(usable)
    sources = trials.sources
    proportions = trials.proportions()[rows]
    _check_proportions(proportions, sources)
    x, y = trials.matrix(names)[rows], response[rows]
    group, first = _groups(trials, rows)
    if len(first) < len(rows):
        warnings.append(
            f"{len(rows)} trials are {len(first)} subsets trained with several seeds: the log loss "
            "of each subset is averaged"
        )
    observations = Observations(
        names=tuple(names),
        x=x[first],
        y=np.bincount(group, y) / np.bincount(group),
        trials=tuple(labels[row] for row in rows[first]),
        sources=sources,
        proportions=proportions[first],
        noise_variance=_noise(group, y),
    )
    return Gathered(observations, excluded, tuple(warnings))


def _check_table(trials: Trials) -> None:
    names = trials.table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InstructmineError(f"the trials have two columns called '{twice[0]}'; rename one")
    if len(trials) == 0:
        raise InstructmineError("the table of trials has no row; run trials first")


def _response(trials: Trials, loss: str | None, warnings: list[str]) -> FloatArray:
    """Return the log loss of each trial, NaN where there is none."""
    names = trials.table.column_names
    if loss is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(trials.column(loss))
    if "log_loss" not in names:
        others = [n for n in names if n == "loss" or n.startswith(OTHER_LOSS)]
        advice = (
            f"it has '{others[0]}': pass --loss {others[0]} to fit its logarithm"
            if others
            else "add one, or name the column of losses with --loss"
        )
        raise UsageError(f"the trials have no column 'log_loss'; {advice}")
    values = trials.column("log_loss")
    if "loss" in names:
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.abs(np.log(trials.column("loss")) - values) > 1e-3
        if apart.any():
            warnings.append(
                f"log_loss is not the natural logarithm of loss in {int(apart.sum())} trials; "
                "log_loss was fitted"
            )
    return values


def _indicators(trials: Trials, wanted: Sequence[str], warnings: list[str]) -> list[str]:
    """Return the indicator columns asked for, or all; refuse text where numbers should be."""
    numeric = [name for name in trials.indicators if name]
    others = [
        name
        for name in trials.table.column_names
        if name not in (*numeric, *RECORD) and not name.startswith((SOURCE, OTHER_LOSS))
    ]
    for name in wanted:
        if name in others:
            raise InstructmineError(
                f"column '{name}' of the trials holds no numbers{_where(trials, name)}; correct it"
            )
        if name not in numeric:
            raise UsageError(plugins.unknown("indicator of the trials", name, numeric))
    if wanted:
        return list(dict.fromkeys(wanted))
    for name in others:
        place = _where(trials, name)
        if place and _mostly_numbers(trials, name):
            raise InstructmineError(
                f"column '{name}' of the trials holds text among its numbers{place}; correct it, "
                f"or name the columns to fit: --indicators {','.join(numeric)}"
            )
        column = trials.table.column(name)
        why = "it is empty" if column.null_count == len(column) else "it holds no numbers"
        warnings.append(f"column '{name}' is no indicator: {why if name else 'it has no name'}")
    return numeric


def _where(trials: Trials, name: str) -> str:
    """Say where the first value stands that is no number, for a column of text."""
    for row, value in enumerate(trials.table.column(name).to_pylist()):
        if isinstance(value, str) and not _is_number(value):
            return f" (row {row}, counted from 0: '{value[:40]}')"
    return ""


def _mostly_numbers(trials: Trials, name: str) -> bool:
    values = [value for value in trials.table.column(name).to_pylist() if isinstance(value, str)]
    return 2 * sum(map(_is_number, values)) > len(values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _labels(trials: Trials) -> list[str]:
    """Return a name for each trial: its number, and its seed where the subset occurs twice."""
    if "trial" not in trials.table.column_names:
        return [f"row {row}" for row in range(len(trials))]
    return [str(value) for value in trials.table.column("trial").to_pylist()]


def _reasons(trials: Trials, response: FloatArray) -> list[str | None]:
    """Return why each trial is left out, None for a usable one."""
    errors: list[object] = [None] * len(trials)
    if "error" in trials.table.column_names:
        errors = trials.table.column("error").to_pylist()
    # elsewhere 0 or False may stand for "no error"; NaN is how pandas writes an empty cell
    texts = ["" if not one or one != one else " ".join(str(one).split()) for one in errors]
    return [
        f"failed: {text}"
        if text
        else "the loss is missing or not finite"
        if not np.isfinite(value)
        else None
        for text, value in zip(texts, response, strict=True)
    ]


def _check_proportions(proportions: FloatArray, sources: Sequence[str]) -> None:
    for name, values in zip(sources, proportions.T, strict=True):
        if not np.isfinite(values).all():
            raise InstructmineError(
                f"column '{SOURCE}{name}' is missing in a usable trial; complete it (a source that "
                "was not used has proportion 0) or remove the column"
            )


def _groups(trials: Trials, rows: IntArray) -> tuple[IntArray, IntArray]:
    """Return the observation of each usable row, and the first row of each observation."""
    if "subset" not in trials.table.column_names:
        return np.arange(len(rows)), np.arange(len(rows))
    subsets = trials.table.column("subset").to_pylist()
    # a row without a subset stands for itself
    keys = [str(subsets[row]) if subsets[row] is not None else f"row {row}" for row in rows]
    place: dict[str, int] = {}
    group = np.array([place.setdefault(key, len(place)) for key in keys])
    return group, np.array([keys.index(key) for key in place])


def _noise(group: IntArray, y: FloatArray) -> FloatArray | None:
    """Return the variance of each averaged log loss by the seed, pooled over all subsets."""
    counts = np.bincount(group)
    freedom = len(y) - len(counts)
    if freedom == 0:
        return None
    means = np.bincount(group, y) / counts
    pooled = float(((y - means[group]) ** 2).sum()) / freedom
    return np.asarray(pooled / counts)
