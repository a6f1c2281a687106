import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from instructmine.iterselect import (
    best,
    combined,
    coverage,
    diverse_draw,
    doubts,
    label_quality,
    similarity,
)


def clusters_of(sizes, d=8, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(sizes), d)) * 4
    points = np.concatenate(
        [c + 0.1 * rng.normal(size=(n, d)) for c, n in zip(centres, sizes, strict=True)]
    )
    vectors = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return vectors, np.repeat(np.arange(len(sizes)), sizes)


def test_a_draw_is_even_over_clusters_and_empties_small_ones():
    vectors, label = clusters_of([200, 50, 5])
    drawn = diverse_draw(vectors, np.arange(255), count=45, clusters=3, seed=1)
    assert np.bincount(label[drawn]).tolist() == [20, 20, 5]
    assert len(set(drawn.tolist())) == 45


def test_a_draw_depends_on_the_seed_alone():
    vectors, _ = clusters_of([60, 60])
    rows = np.arange(10, 110)
    first = diverse_draw(vectors, rows, count=20, clusters=4, seed=1)
    assert first.tolist() == diverse_draw(vectors, rows, count=20, clusters=4, seed=1).tolist()
    assert first.tolist() != diverse_draw(vectors, rows, count=20, clusters=4, seed=2).tolist()
    assert set(first.tolist()) <= set(rows.tolist())
    assert diverse_draw(vectors, rows, count=500, clusters=4, seed=1).tolist() == rows.tolist()


def test_similarity_is_the_cosine_to_the_nearest_hard_rows():
    vectors, _ = clusters_of([30, 30])
    rows, hard = np.arange(40), np.array([45, 50, 59])
    cosine = vectors[rows].astype(np.float64) @ vectors[hard].astype(np.float64).T
    found = similarity(vectors, rows, hard)
    assert found == pytest.approx(cosine.max(axis=1), abs=1e-6)
    two = np.sort(cosine, axis=1)[:, -2:].mean(axis=1)
    assert similarity(vectors, rows, hard, nearest=2) == pytest.approx(two, abs=1e-6)
    assert similarity(vectors, rows, hard, nearest=9) == pytest.approx(cosine.mean(1), abs=1e-6)
    assert similarity(vectors, rows, hard[:0]).tolist() == [0.0] * 40


def test_similarity_of_many_rows_is_that_of_few():
    vectors, _ = clusters_of([5000, 200])
    hard = np.arange(5000, 5200)
    whole = similarity(vectors, np.arange(5000), hard)
    assert whole[4090:4110] == pytest.approx(similarity(vectors, np.arange(4090, 4110), hard))


def test_alpha_weighs_classifier_and_similarity():
    m, r = np.array([0.2, 0.8]), np.array([0.9, 0.1])
    assert combined(m, r, 1.0).tolist() == m.tolist()
    assert combined(m, r, 0.0).tolist() == r.tolist()
    assert combined(m, r, 0.9) == pytest.approx([0.27, 0.73])


def test_the_best_come_first_and_ties_by_id():
    ids = np.array([b"c", b"a", b"b", b"d"])
    rows = np.array([0, 1, 2, 3])
    assert best(rows, np.array([1.0, 1.0, 2.0, 0.0]), ids, 3).tolist() == [2, 1, 0]


def test_label_quality_is_that_of_scikit_learn_and_says_what_cannot_be():
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.3
    p = np.clip(0.3 + 0.4 * truth + rng.normal(0, 0.2, 200), 0, 1)
    found = label_quality(truth, p)
    assert found.auroc == pytest.approx(roc_auc_score(truth, p))
    assert found.prevalence == pytest.approx(truth.mean()) and found.rows == 200
    perfect = label_quality([True, False], np.array([1.0, 0.0]))
    assert (perfect.accuracy, perfect.brier, perfect.calibration_error) == (1, 0, 0)
    one = label_quality([True, True], np.array([0.9, 0.8]))
    assert one.auroc is None and one.auprc is None and one.accuracy == 1


def test_coverage_is_the_share_of_clusters_touched():
    labels = np.array([0, 0, 1, 2, -1])
    assert coverage(labels, np.array([0, 1])) == pytest.approx(1 / 3)
    assert coverage(labels, np.array([0, 2, 3])) == 1
    assert coverage(labels, np.array([], dtype=int)) == 0


def test_a_weak_classifier_is_doubted():
    hard = [True] * 7 + [False] * 3
    good = np.array([0.9] * 7 + [0.1] * 3)
    assert doubts(label_quality(hard, good)) == []
    right_order = np.linspace(0.4, 0.1, 10)
    (flattered,) = doubts(label_quality(hard, right_order))
    assert "right in 30%, always saying 'hard' in 70%" in flattered
    chance, flattered = doubts(label_quality([not one for one in hard], good))
    assert "AUROC 0.00" in chance
    assert "right in 0%, always saying 'easy' in 70%" in flattered
    alike = label_quality([True] * 4, np.full(4, 0.6))
    assert doubts(alike) == []
