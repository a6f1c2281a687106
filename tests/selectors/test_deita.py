import numpy as np
import pytest
from candidate_tables import candidates, unit

from instructmine.errors import UsageError
from instructmine.selectors import deita
from instructmine.selectors.deita import Deita


def brute(made, threshold):
    chosen = []
    for row in made.by_quality().tolist():
        if all(made.embeddings[row] @ made.embeddings[other] <= threshold for other in chosen):
            chosen.append(row)
    return chosen


@pytest.mark.parametrize("block", [1, 3, 32, 1024])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_is_the_plain_walk_down_the_quality_order(monkeypatch, block, threshold):
    monkeypatch.setattr(deita, "_BLOCK", block)
    made = candidates(250, d=8)
    ranking = Deita(threshold=threshold).rank(made)
    assert ranking.order[: ranking.chosen].tolist() == brute(made, threshold)


def test_exactly_one_of_two_copies_stays_the_better_one():
    base = unit(np.random.default_rng(0).normal(size=(30, 32)))
    made = candidates(60, vectors=np.concatenate([base, base]), quality=np.arange(60.0))
    ranking = Deita().rank(made)
    assert ranking.order[: ranking.chosen].tolist() == list(range(30))
    assert ranking.order[ranking.chosen :].tolist() == list(range(30, 60))


def test_compares_with_chosen_ones_only():
    """b is like a, c is like b but not like a: b goes, c stays."""
    angle = np.deg2rad([0, 20, 40])
    made = candidates(3, vectors=np.stack([np.cos(angle), np.sin(angle)], 1), quality=[0, 1, 2])
    ranking = Deita().rank(made)
    assert ranking.order.tolist() == [0, 2, 1] and ranking.chosen == 2


def test_a_threshold_that_is_no_cosine_is_refused():
    with pytest.raises(UsageError, match="threshold"):
        Deita(threshold=90)
