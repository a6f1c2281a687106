"""Is it quality, or only the source? Controls by the proportions of the sources in each trial.

A mixture of sources moves all indicators together with the loss, so a rule may know the source
and nothing else. Two questions: do the indicators add anything once the proportions are known,
and does a rule made where a source is rare hold where it is common?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instructmine.regression.models import linear
from instructmine.regression.ols import left_over
from instructmine.regression.search import Folds
from instructmine.regression.stability import permutation_test
from instructmine.regression.subsets import BoolArray, FloatArray
from instructmine.regression.validation import chosen_predictions, held_out_r2

TRAIN_QUANTILE, TEST_QUANTILE = 0.5, 0.75
FEWEST_TESTED = 5


@dataclass(frozen=True)
class SourceControl:
    """Indicators against the proportions of the sources.

    r2_sources, cv_r2_sources: of the proportions alone. cv_r2_both: of the proportions and the
    rule's columns. partial_r2: share of what the proportions leave that the rule's columns
    explain, in-sample. partial_f_p: its classical F test; too small, since the columns were
    chosen on the same trials. permutation_p: of the whole search after the proportions were
    taken out of losses and indicators (Freedman & Lane 1983); choosing is paid for. None where
    the proportions leave nothing of the indicators.
    """

    r2_sources: float
    cv_r2_sources: float
    cv_r2_both: float
    partial_r2: float
    partial_f_p: float
    permutation_p: float | None


def source_control(
    x: FloatArray,
    y: FloatArray,
    proportions: FloatArray,
    chosen: BoolArray,
    folds: Folds,
    permutations: int,
) -> SourceControl:
    """Control for proportions (n, sources) of at least two sources that vary."""
    from scipy.stats import f

    n = len(y)
    alone, rank_alone = left_over(proportions, y)
    both = np.column_stack([proportions, x[:, chosen]])
    together, rank_both = left_over(both, y)
    rss_alone, rss_both = float(alone @ alone), float(together @ together)
    extra, dof = rank_both - rank_alone, n - rank_both
    statistic = ((rss_alone - rss_both) / max(extra, 1)) / (rss_both / max(dof, 1))
    inside, _ = left_over(proportions, x)
    varies = inside.std(axis=0) > 1e-6 * x.std(axis=0)
    return SourceControl(
        r2_sources=1 - rss_alone / float(((y - y.mean()) ** 2).sum()),
        cv_r2_sources=linear(proportions, y, folds),
        cv_r2_both=linear(both, y, folds),
        partial_r2=1 - rss_both / rss_alone,
        partial_f_p=float(f.sf(statistic, extra, dof)) if extra and dof > 0 else 1.0,
        permutation_p=(
            permutation_test(inside[:, varies], alone, folds, permutations, proportions).p
            if varies.any()
            else None
        ),
    )


@dataclass(frozen=True)
class LeftOut:
    """One source left out. why: why it could not be tested; the numbers are then None.

    train, test: how many trials. r2: `1 - Σ error² / Σ (error of the training mean)²`.
    spearman: rank correlation of predicted and actual log loss in the test part.
    """

    source: str
    train: int
    test: int
    r2: float | None = None
    spearman: float | None = None
    why: str = ""


def leave_sources_out(
    x: FloatArray,
    y: FloatArray,
    proportions: FloatArray,
    sources: Sequence[str],
    folds: Folds,
    smallest: int,
) -> tuple[LeftOut, ...]:
    """Choose and fit where a source is rare, predict where it is common; for each source.

    Mixtures hold all sources, so a source is left out as far as the trials allow: training part
    are the trials whose share of it is at most the median, test part those whose share is at
    least the 75th percentile and above the median; the quarter between stays out.
    smallest: the fewest trials that the folds allow.
    """
    found = []
    for source, share in zip(sources, proportions.T, strict=True):
        low, high = np.quantile(share, [TRAIN_QUANTILE, TEST_QUANTILE])
        train, test = share <= low, (share >= high) & (share > low)
        counts = (source, int(train.sum()), int(test.sum()))
        if train.sum() < smallest or test.sum() < FEWEST_TESTED:
            found.append(LeftOut(*counts, why="too few trials with a low or a high share"))
        elif (x[train].std(axis=0) == 0).any():
            found.append(LeftOut(*counts, why="an indicator is constant where the share is low"))
        else:
            found.append(_left_out(x, y, train, test, counts, folds))
    return tuple(found)


def _left_out(
    x: FloatArray,
    y: FloatArray,
    train: BoolArray,
    test: BoolArray,
    counts: tuple[str, int, int],
    folds: Folds,
) -> LeftOut:
    from scipy.stats import spearmanr

    predictions = chosen_predictions(x, y, train[None], test[None], folds)
    r2 = held_out_r2(y, test[None], predictions)
    spearman = float(spearmanr(predictions[0][0], y[test]).statistic)
    return LeftOut(*counts, r2=r2, spearman=spearman if np.isfinite(spearman) else None)
