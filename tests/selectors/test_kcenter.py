import numpy as np
import pytest
from candidate_tables import candidates, unit

from instructmine.selectors import kcenter
from instructmine.selectors.kcenter import Kcenter, farthest_first


def brute(vectors, wanted):
    exact = vectors.astype(np.float64)
    chosen = [0]
    nearest = ((exact - exact[0]) ** 2).sum(axis=1)
    while len(chosen) < wanted:
        best = int(np.argmax(nearest))
        chosen.append(best)
        nearest = np.minimum(nearest, ((exact - exact[best]) ** 2).sum(axis=1))
    return chosen


@pytest.mark.parametrize("block", [1, 2, 7, 64, 512])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_plain_farthest_first_walk(monkeypatch, block, seed):
    monkeypatch.setattr(kcenter, "_BLOCK", block)
    monkeypatch.setattr(kcenter, "_ROWS", 50)
    vectors = unit(np.random.default_rng(seed).normal(size=(230, 12)))
    assert farthest_first(vectors, 120).tolist() == brute(vectors, 120)


def test_starts_from_the_best_quality():
    made = candidates(50)
    assert Kcenter().rank(made).order[0] == made.by_quality()[0]


def test_of_equally_far_ones_the_better_comes_first():
    vectors = np.eye(6)  # all pairs equally far
    made = candidates(6, quality=[3, 1, 2, 0, 5, 4], vectors=vectors)
    assert Kcenter().rank(made).order.tolist() == [3, 1, 2, 0, 5, 4]


def test_copies_come_last():
    vectors = np.repeat(np.random.default_rng(0).normal(size=(20, 8)), 5, axis=0)
    made = candidates(100, vectors=vectors)
    ranking = Kcenter().rank(made)
    assert len({row // 5 for row in ranking.order[:20].tolist()}) == 20
    assert ranking.chosen == 20


def test_its_radius_beats_chance():
    made = candidates(600, d=6)

    def radius(rows):
        return (made.embeddings @ made.embeddings[rows].T).max(axis=1).min()

    chosen = Kcenter().rank(made, limit=30).order[:30]
    drawn = [np.random.default_rng(seed).choice(600, 30, replace=False) for seed in range(20)]
    assert radius(chosen) > max(radius(rows) for rows in drawn)
