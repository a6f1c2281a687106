"""Refuses trials that no regression can be fitted to, each in one line that says what to do."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from instructmine.errors import InstructmineError, UsageError
from instructmine.regression.search import Folds
from instructmine.regression.subsets import FloatArray

MOST_COLUMNS = 12  # 4,095 subsets; the time of a search doubles with every column
SPARE_TRIALS = 2  # trials beyond the number of coefficients in the smallest training part
_ALIKE = 1e-9  # 1 - |correlation| below which two columns are the same measurement


def check_columns(
    x: FloatArray, y: FloatArray, names: Sequence[str], trials: Sequence[str]
) -> None:
    """Refuse missing, infinite, constant and perfectly collinear columns, and lone values.

    names: of the p columns. trials: of the n rows. Raises InstructmineError naming the culprits.
    """
    for name, values in zip(names, x.T, strict=True):
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise InstructmineError(
                f"indicator '{name}' is missing or infinite in {len(bad)} of {len(values)} usable "
                f"trials (first: trial {trials[bad[0]]}); complete it or {_without(names, name)}"
            )
        if _constant(values):
            raise InstructmineError(
                f"indicator '{name}' is constant ({values[0]:g} in every trial), so it can explain "
                f"nothing; {_without(names, name)}"
            )
    if _constant(y):
        raise InstructmineError(
            f"log_loss is constant ({y[0]:g} in every trial): there is nothing to explain"
        )
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    _check_dependence(z, names)
    _check_leverage(z, names, trials)
    _check_exact(z, (y - y.mean()) / y.std(), names)


def _constant(values: FloatArray) -> bool:
    scale = float(np.abs(values).max())
    return bool(np.ptp(values) <= 1e-12 * scale)


def _check_dependence(z: FloatArray, names: Sequence[str]) -> None:
    """Refuse columns that are exact linear functions of each other."""
    correlation = z.T @ z / len(z)
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            if 1 - abs(correlation[i, j]) < _ALIKE:
                raise InstructmineError(
                    f"indicators '{first}' and '{names[j]}' are the same up to scale and offset: "
                    f"their coefficients cannot be told apart; {_without(names, names[j])}"
                )
    values, vectors = np.linalg.eigh(correlation)
    if len(names) < len(z) and values[0] < _ALIKE:
        involved = [n for n, part in zip(names, vectors[:, 0], strict=True) if abs(part) > 1e-3]
        raise InstructmineError(
            f"indicators {', '.join(involved)} depend on each other exactly (one is a sum of the "
            f"others): {_without(names, involved[-1])}"
        )


def _check_leverage(z: FloatArray, names: Sequence[str], trials: Sequence[str]) -> None:
    """Refuse a trial that a coefficient depends on alone: its residual is 0, HC3 has no value."""
    q, _ = np.linalg.qr(np.column_stack([np.ones(len(z)), z]))
    leverage = (q**2).sum(axis=1)
    alone = int(np.argmax(leverage))
    if leverage[alone] > 1 - _ALIKE:
        column = names[int(np.argmax(np.abs(z[alone])))]
        raise InstructmineError(
            f"trial {trials[alone]} alone decides a coefficient (leverage 1): no other trial "
            f"varies like it in '{column}'; add such trials or {_without(names, column)}"
        )


def _check_exact(z: FloatArray, y: FloatArray, names: Sequence[str]) -> None:
    """Refuse indicators that give the loss without error: no measurement does."""
    left = y - z @ np.linalg.lstsq(z, y, rcond=None)[0]
    if left @ left < _ALIKE * len(y):
        nearest = names[int(np.argmax(np.abs(z.T @ y)))]
        raise InstructmineError(
            f"the indicators give log_loss exactly; is '{nearest}' computed from the loss? "
            f"If so, {_without(names, nearest)}"
        )


def check_numbers(n: int, names: Sequence[str], folds: Folds) -> None:
    """Refuse too many columns, or too few trials for the columns or for the folds.

    Raises UsageError for an impossible option, InstructmineError for too few trials.
    """
    p = len(names)
    if p == 0:
        raise InstructmineError("the trials have no indicator column; add one that holds numbers")
    if p > MOST_COLUMNS:
        raise UsageError(
            f"{p} indicators give {2**p - 1:,} subsets to search; choose at most {MOST_COLUMNS}: "
            f"--indicators {','.join(names[:MOST_COLUMNS])}"
        )
    if folds.folds < 2 or folds.repeats < 1:
        raise UsageError("cross-validation needs at least 2 folds and 1 repeat")
    if n < p + 1 + SPARE_TRIALS:
        raise InstructmineError(
            f"{n} usable trials are too few for {p + 1} coefficients ({p} indicators and the "
            f"intercept); at least {fewest_trials(p, folds)} are needed with {folds.folds} folds"
        )
    if n < fewest_trials(p, folds):
        raise InstructmineError(
            f"{n} usable trials are too few for nested cross-validation with {folds.folds} folds "
            f"and {p} indicators; add trials (at least {fewest_trials(p, folds)}) or name fewer "
            "indicators"
        )


def fewest_searchable(p: int, folds: Folds) -> int:
    """Return the fewest trials among which p columns can be searched with these folds."""
    n = folds.folds
    while n - ceil(n / folds.folds) < p + 1 + SPARE_TRIALS:
        n += 1
    return n


def fewest_trials(p: int, folds: Folds) -> int:
    """Return the fewest trials for the nested validation: its training parts are searched."""
    inner = fewest_searchable(p, folds)
    n = inner
    while n - ceil(n / folds.folds) < inner:
        n += 1
    return n


def _without(names: Sequence[str], name: str) -> str:
    rest = ",".join(one for one in names if one != name)
    return f"leave it out: --indicators {rest}" if rest else "give another indicator"
