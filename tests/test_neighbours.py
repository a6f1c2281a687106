import numpy as np
import pytest

from instructmine import neighbours
from instructmine.neighbours import ClusterSearch, squared_distances


def clustered(rows, width=24, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(40, width))[rng.integers(0, 40, rows)]
    vectors += 0.8 * rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute(vectors, count):
    double = vectors.astype(np.float64)
    squared = np.maximum(((double[:, None] - double[None]) ** 2).sum(axis=2), 0)
    np.fill_diagonal(squared, np.inf)
    return np.sort(squared, axis=1)[:, :count]


def everything(search):
    parts = list(search.blocks())
    assert [rows.start for rows, _, _ in parts] == [0, *(rows.stop for rows, _, _ in parts[:-1])]
    return np.concatenate([p[1] for p in parts]), np.concatenate([p[2] for p in parts])


@pytest.mark.parametrize("wanted", [0.5, 0.9, 1.0])
def test_the_recall_it_states_is_the_one_it_has(monkeypatch, wanted):
    monkeypatch.setattr(neighbours, "SAMPLE", 600)
    vectors = clustered(1500)
    search = ClusterSearch(vectors, 6, wanted)
    _, distances = everything(search)
    limit = brute(vectors, 6)[:, -1]
    true = float((distances <= limit[:, None] * (1 + 1e-9)).mean())
    assert search.search.recall >= wanted
    assert search.search.recall == pytest.approx(true, abs=0.03)
    assert search.search.sampled == 600


def test_it_looks_into_few_clusters_where_that_is_enough():
    search = ClusterSearch(clustered(3000), 6, 0.8).search
    assert search.probes < search.clusters / 2
    assert "recall 0." in search.explain()
    assert search.to_json()["clusters"] == search.clusters


def test_distances_are_exact_and_a_row_is_no_neighbour_of_itself(monkeypatch):
    monkeypatch.setattr(neighbours, "_QUERIES", 100)
    vectors = clustered(800)
    vectors[3] = vectors[700] = vectors[20]
    found, distances = everything(ClusterSearch(vectors, 5, 0.9))
    assert not (found == np.arange(800)[:, None]).any()
    assert (distances[[3, 20, 700], :2] == 0).all()
    np.testing.assert_array_equal(distances, squared_distances(vectors, np.arange(800), found))
    assert (np.diff(distances, axis=1) >= 0).all()


def test_the_same_rows_give_the_same_answer_in_blocks_of_any_size(monkeypatch):
    vectors = clustered(900)
    found, distances = everything(ClusterSearch(vectors, 4, 0.9))
    monkeypatch.setattr(neighbours, "_QUERIES", 37)
    again, again_distances = everything(ClusterSearch(vectors, 4, 0.9))
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(distances, again_distances)


@pytest.mark.parametrize("rows", [2, 3, 10])
def test_pools_that_are_hardly_pools(rows):
    vectors = clustered(rows)
    _, distances = everything(ClusterSearch(vectors, 1, 1.0))
    np.testing.assert_allclose(distances, brute(vectors, 1), rtol=1e-12)
