"""IterSelectTune's arithmetic (arXiv 2410.13464): which rows to look at, and how they score.

Where the paper is silent the defaults are ours and can be set: clusters, draw, batch, α, and
whether the similarity is to the nearest hard row or to the mean of the nearest few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.kmeans import FloatMatrix, IntArray, kmeans

FloatArray = npt.NDArray[np.float64]
_WEAK = 0.6  # AUROC below which a classifier is called weak


@dataclass(frozen=True)
class LabelQuality:
    """How well a classifier knows labelled rows.

    prevalence: share that is hard, what accuracy has to be read against. accuracy: at .5.
    auroc, auprc: None where all rows have one label. brier: mean squared error of the
    probability; calibration_error: mean gap of probability and share of hard ones over ten bins
    of equal size, weighted.
    """

    rows: int
    prevalence: float
    accuracy: float
    brier: float
    calibration_error: float
    auroc: float | None = None
    auprc: float | None = None


def diverse_draw(
    vectors: FloatMatrix, rows: IntArray, *, count: int, clusters: int, seed: int
) -> IntArray:
    """Draw rows evenly from K-means clusters of their vectors (the paper's subset V).

    Clusters take turns, each giving one of its rows at random, until `count` are drawn, so small
    ones are emptied. The rows' order has no influence where they come in order of their ids.

    Args:
        vectors: (n, d) unit vectors of the whole pool.
        rows: positions to draw from.
        count: how many to draw at most.
        clusters: how many clusters at most.
        seed: of K-means and the draw.
    """
    if count >= len(rows):
        return rows
    label = kmeans(np.ascontiguousarray(vectors[rows]), min(clusters, len(rows)), seed)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(rows))
    turn = np.empty(len(rows), dtype=np.int64)
    for cluster in np.unique(label):
        own = shuffled[label[shuffled] == cluster]
        turn[own] = np.arange(len(own))
    order = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return np.sort(rows[order[:count]])


def similarity(
    vectors: FloatMatrix, rows: IntArray, hard: IntArray, *, nearest: int = 1
) -> FloatArray:
    """Return R: the mean cosine of each row to its `nearest` hard rows; 0 without any.

    1 is the maximum over the hard set. vectors: (n, d) float32 of length one. faiss compares in
    blocks, so memory does not grow with rows × hard rows.
    """
    import faiss

    if not len(hard):
        return np.zeros(len(rows))
    found, _ = faiss.knn(
        vectors[rows], vectors[hard], min(nearest, len(hard)), metric=faiss.METRIC_INNER_PRODUCT
    )
    return np.asarray(found.mean(axis=1, dtype=np.float64))


def combined(probability: FloatArray, near: FloatArray, alpha: float) -> FloatArray:
    """Return Q = α·M + (1 − α)·R, higher is taken first (eq. 3 of the paper)."""
    return alpha * probability + (1 - alpha) * near


def best(rows: IntArray, score: FloatArray, ids: npt.NDArray[np.bytes_], count: int) -> IntArray:
    """Return the `count` rows of the highest score, best first, ties by id."""
    return rows[np.lexsort((ids[rows], -score))[:count]]


def label_quality(hard: Sequence[bool], probability: FloatArray) -> LabelQuality:
    """Measure a classifier on labelled rows that it was not trained on."""
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    truth = np.asarray(hard, dtype=bool)
    both = 0 < truth.sum() < len(truth)
    order = np.argsort(probability, kind="stable")
    bins = np.array_split(order, min(10, len(order)))
    gaps = [len(one) * abs(probability[one].mean() - truth[one].mean()) for one in bins]
    return LabelQuality(
        rows=len(truth),
        prevalence=float(truth.mean()),
        accuracy=float(np.mean((probability >= 0.5) == truth)),
        brier=float(brier_score_loss(truth, probability, pos_label=True, labels=[False, True])),
        calibration_error=float(sum(gaps) / len(truth)),
        auroc=float(roc_auc_score(truth, probability)) if both else None,
        auprc=float(average_precision_score(truth, probability)) if both else None,
    )


def doubts(quality: LabelQuality) -> list[str]:
    """Return, in a sentence each, why a classifier is not to be relied on."""
    found = []
    if quality.auroc is not None and quality.auroc < _WEAK:
        found.append(
            "the classifier hardly tells hard from easy on the hold-out (AUROC "
            f"{quality.auroc:.2f}): what it took is near random"
        )
    always = max(quality.prevalence, 1 - quality.prevalence)
    if quality.accuracy < always:
        word = "hard" if quality.prevalence >= 0.5 else "easy"
        found.append(
            f"on the hold-out the classifier is right in {quality.accuracy:.0%}, always saying "
            f"'{word}' in {always:.0%}: its accuracy on fresh batches flatters it"
        )
    return found


def coverage(labels: IntArray, hard: IntArray) -> float:
    """Return the share of the pool's clusters that the hard set touches.

    labels: (n,) cluster of every row of the pool, -1 for none.
    """
    clusters = np.unique(labels[labels >= 0])
    touched = np.unique(labels[hard])
    return float(np.isin(clusters, touched).mean()) if len(clusters) else 0.0
