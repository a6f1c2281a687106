"""How well the whole choice predicts trials it has not seen: the columns are chosen anew.

A cross-validated score of the columns that won a search is too high, because they were chosen by
it. Here the search is repeated inside every training part, so that choosing is paid for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructmine.regression.search import Folds, search
from instructmine.regression.subsets import BoolArray, FloatArray, IntArray, Subsets

LEARNING_SIZES = 6
LEARNING_DRAWS = 20
LEARNING_LARGEST = 0.9  # share of the trials in the largest training part


def predict(x: FloatArray, y: FloatArray, train: BoolArray, test: BoolArray) -> FloatArray:
    """Fit on the trials of `train` (n,) and predict those of `test` (n,)."""
    center = x[train].mean(axis=0)
    slopes = np.linalg.lstsq(x[train] - center, y[train] - y[train].mean(), rcond=None)[0]
    predicted: FloatArray = y[train].mean() + (x[test] - center) @ slopes
    return predicted


def chosen_predictions(
    x: FloatArray, y: FloatArray, trains: BoolArray, tests: BoolArray, folds: Folds
) -> list[tuple[FloatArray, FloatArray]]:
    """Choose columns on each training part (k, n), fit them there, predict its test part.

    Returns per part the predictions of the whole choice, and of the training mean.
    """
    subsets = Subsets.of(x.shape[1])
    found = search(x, y, trains.astype(float), subsets, folds)
    predictions = []
    for result, train, test in zip(found, trains, tests, strict=True):
        columns = subsets.masks[result.chosen]
        predicted = predict(x[:, columns], y, train, test)
        predictions.append((predicted, np.full(len(predicted), y[train].mean())))
    return predictions


def held_out_r2(
    y: FloatArray, tests: BoolArray, predictions: list[tuple[FloatArray, FloatArray]]
) -> float:
    """Return `1 - Σ error² / Σ (error of the training mean)²` over all test parts."""
    pairs = list(zip(tests, predictions, strict=True))
    error = sum(float(((y[test] - guess) ** 2).sum()) for test, (guess, _) in pairs)
    base = sum(float(((y[test] - mean) ** 2).sum()) for test, (_, mean) in pairs)
    return 1 - error / base


@dataclass(frozen=True)
class Nested:
    """Nested cross-validation of the whole choice.

    cv_r2: mean over the repeats of the outer folds. sd: between the repeats; it shows the luck
    of the folds, not that of the trials. rmse: of held-out predictions, in log loss.
    """

    cv_r2: float
    sd: float
    rmse: float


def nested(x: FloatArray, y: FloatArray, folds: Folds) -> Nested:
    """Estimate the CV-R2 of choosing columns of x (n, p) and fitting them."""
    numbers = outer(folds).draw(np.ones(len(y)))
    tests = (numbers[:, None, :] == np.arange(folds.folds)[:, None]).reshape(-1, len(y))
    predictions = chosen_predictions(x, y, ~tests, tests, folds)
    k = folds.folds
    scores = [
        held_out_r2(y, tests[start : start + k], predictions[start : start + k])
        for start in range(0, len(tests), k)
    ]
    pairs = zip(tests, predictions, strict=True)
    errors = np.concatenate([y[test] - guess for test, (guess, _) in pairs])
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return Nested(float(np.mean(scores)), sd, float(np.sqrt(np.mean(errors**2))))


def outer(folds: Folds) -> Folds:
    """Return folds of the same shape from another seed than the inner ones."""
    return Folds(folds.folds, folds.repeats, folds.seed + 1)


@dataclass(frozen=True)
class LearningCurve:
    """Held-out R2 of the whole choice against the number of trials it was made on."""

    trials: IntArray
    cv_r2: FloatArray


def learning_curve(x: FloatArray, y: FloatArray, folds: Folds, smallest: int) -> LearningCurve:
    """Choose and fit on random parts of growing size, predict the rest.

    smallest: the fewest trials that the folds allow. Each size is drawn LEARNING_DRAWS times.
    """
    n = len(y)
    rng = np.random.default_rng([folds.seed, n, LEARNING_DRAWS])
    largest = int(LEARNING_LARGEST * n)
    sizes = np.unique(np.linspace(smallest, largest, LEARNING_SIZES).round().astype(int))
    sizes = sizes[(sizes >= smallest) & (sizes <= largest)]
    scores = []
    for size in sizes:
        trains = np.zeros((LEARNING_DRAWS, n), dtype=bool)
        for row in trains:
            row[rng.permutation(n)[:size]] = True
        predictions = chosen_predictions(x, y, trains, ~trains, folds)
        scores.append(held_out_r2(y, ~trains, predictions))
    return LearningCurve(sizes, np.array(scores))
