import numpy as np
import pytest
from candidate_tables import candidates, unit

from instructmine.selectors.facility_location import FacilityLocation, _LazyGreedy


def objective(vectors, rows):
    return np.maximum((vectors @ vectors[rows].T).max(axis=1), 0).sum()


def brute(vectors, wanted):
    similarity = np.maximum(vectors.astype(np.float64) @ vectors.T.astype(np.float64), 0)
    covered = np.zeros(len(vectors))
    chosen = []
    while len(chosen) < wanted:
        gains = np.maximum(similarity - covered, 0).sum(axis=1).round(4)
        gains[chosen] = -1
        chosen.append(int(np.argmax(gains)))
        covered = np.maximum(covered, similarity[chosen[-1]])
    return chosen


@pytest.mark.parametrize("memory", [0, 2**18, 2**30])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_plain_greedy_choice_in_any_memory(memory, seed):
    vectors = unit(np.random.default_rng(seed).normal(size=(400, 24)))
    assert _LazyGreedy(vectors, memory).run(60).tolist() == brute(vectors, 60)


def test_memory_is_no_identity_and_changes_nothing():
    made = candidates(300)
    small = FacilityLocation(memory_mib=0).rank(made, limit=50)
    large = FacilityLocation(memory_mib=64).rank(made, limit=50)
    assert small.order.tolist() == large.order.tolist()


def test_stops_when_nothing_adds_anything():
    vectors = np.repeat(np.eye(5), 4, axis=0)
    ranking = FacilityLocation().rank(candidates(20, vectors=vectors))
    assert ranking.chosen == 5
    assert len({row // 4 for row in ranking.order[:5].tolist()}) == 5


def test_represents_the_pool_better_than_chance():
    made = candidates(600)
    chosen = FacilityLocation().rank(made, limit=12).order[:12]
    drawn = [np.random.default_rng(seed).choice(600, 12, replace=False) for seed in range(20)]
    best = max(objective(made.embeddings, rows) for rows in drawn)
    assert objective(made.embeddings, chosen) > best
