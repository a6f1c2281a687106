import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instructmine import neighbours
from instructmine.contracts import Batch, Column, Context, Earlier, Indicator
from instructmine.errors import UsageError
from instructmine.indicators import knn
from instructmine.indicators.knn import Knn, grown, neighbour_distances
from instructmine.models import nearest


class Vectors(Indicator):
    """Stands for the embedding: only its config is held."""

    version = 1
    vector = True
    columns = (Column("embedding", "unknown", "vector"),)

    def open(self, context, columns):
        raise NotImplementedError


def score(vectors, neighbour=(6,), columns=None):
    indicator = Knn(neighbour=neighbour, embedding=Vectors())
    ids = np.array([f"{row:032x}" for row in range(len(vectors))], dtype="S32")
    columns = columns or [column.name for column in indicator.columns]
    return indicator.open(Context(), columns).score(Batch(ids, (), {"embedding": vectors}))


def brute(vectors, count):
    exact = vectors.astype(np.float64)
    distances = np.sqrt(((exact[:, None] - exact[None]) ** 2).sum(axis=2))
    np.fill_diagonal(distances, np.inf)
    return np.sort(distances, axis=1)[:, :count]


def clustered(n, d, seed=0, spread=0.5):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(6, d))[rng.integers(0, 6, n)] + spread * rng.normal(size=(n, d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n,d", [(2, 3), (9, 2), (400, 24), (700, 5)])
def test_equals_brute_force(monkeypatch, n, d):
    monkeypatch.setattr(knn, "_QUERIES", 128)
    monkeypatch.setattr(neighbours, "_PAIRS", 100)
    vectors = clustered(n, d)
    count = min(6, n - 1)
    np.testing.assert_allclose(
        neighbour_distances(vectors, count), brute(vectors, count), rtol=1e-12, atol=0
    )


def test_equals_scikit_learn():
    from sklearn.neighbors import NearestNeighbors

    vectors = clustered(500, 32)
    model = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(vectors.astype(np.float64))
    expected = model.kneighbors()[0][:, :6]  # without arguments it leaves the row itself out
    np.testing.assert_allclose(neighbour_distances(vectors, 6), expected, atol=1e-7)


def test_copies_are_neighbours_at_exactly_zero():
    vectors = clustered(300, 384)
    vectors[7] = vectors[250]
    vectors[20:40] = vectors[20]
    values = score(vectors, (1, 6)).values
    assert values["knn1"][[7, 250]].tolist() == [0, 0]
    assert values["knn6"][7] > 0
    assert values["knn6"][20:40].tolist() == [0] * 20
    np.testing.assert_allclose(values["knn6"], brute(vectors, 6)[:, 5], rtol=1e-12)


@given(st.lists(st.integers(0, 5), min_size=8, max_size=40), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_exact_with_any_copies(labels, seed):
    vectors = clustered(6, 16, seed)[labels]
    np.testing.assert_allclose(neighbour_distances(vectors, 6), brute(vectors, 6), atol=1e-12)


@pytest.mark.parametrize("offset,scale", [(0, 1e-5), (1, 1e-4), (100, 1), (0, 1e4)])
def test_exact_where_float32_products_cancel(offset, scale):
    """Differences far below the rounding of ‖x‖² + ‖y‖² − 2xy still come out right."""
    rng = np.random.default_rng(1)
    centres = offset + scale * rng.normal(size=(3, 20))
    vectors = centres[rng.integers(0, 3, 200)] + 1e-4 * scale * rng.normal(size=(200, 20))
    vectors = vectors.astype(np.float32)
    np.testing.assert_allclose(neighbour_distances(vectors, 6), brute(vectors, 6), rtol=1e-9)


def test_row_order_does_not_matter():
    vectors = clustered(200, 48)
    vectors[3:9] = vectors[3]
    shuffle = np.random.default_rng(0).permutation(200)
    straight = score(vectors).values["knn6"]
    assert score(vectors[shuffle]).values["knn6"].tolist() == straight[shuffle].tolist()


def test_several_neighbours_at_once_and_the_nearer_ones_kept():
    vectors = clustered(60, 8)
    scored = score(vectors, (1, 6, 10))
    assert list(scored.values) == ["knn1", "knn6", "knn10"]
    assert list(scored.kept) == ["knn2", "knn3", "knn4", "knn5", "knn7", "knn8", "knn9"]
    for i in (1, 6, 10):
        np.testing.assert_allclose(scored.values[f"knn{i}"], brute(vectors, i)[:, -1], rtol=1e-12)
    assert list(score(vectors, (1, 6, 10), ["knn6"]).values) == ["knn6"]


def test_a_pool_that_is_too_small_is_missing_with_a_reason():
    scored = score(clustered(5, 4), (2, 6))
    assert not np.isnan(scored.values["knn2"]).any()
    assert np.isnan(scored.values["knn6"]).all()
    assert scored.reasons == {row: "the pool has 5 rows, neighbour 6 needs 7" for row in range(5)}


def test_a_row_without_embedding_is_missing_and_nobodys_neighbour():
    vectors = clustered(40, 8)
    vectors[11] = math.nan
    scored = score(vectors)
    assert np.isnan(scored.values["knn6"]).nonzero()[0].tolist() == [11]
    assert scored.reasons == {11: "no embedding"}
    rest = np.delete(np.arange(40), 11)
    np.testing.assert_allclose(
        scored.values["knn6"][rest], brute(vectors[rest], 6)[:, 5], rtol=1e-12
    )


def test_an_empty_pool():
    assert score(np.empty((0, 4), np.float32)).values["knn6"].shape == (0,)


def test_a_single_number_counts_as_one_neighbour():
    assert Knn(neighbour=3, embedding=Vectors()).neighbour == (3,)
    assert [c.name for c in Knn(embedding=Vectors()).columns] == ["knn6"]


@pytest.mark.parametrize("neighbour", [0, (), (6, 0)])
def test_what_is_no_neighbour_is_refused(neighbour):
    with pytest.raises(UsageError, match="neighbour"):
        Knn(neighbour=neighbour, embedding=Vectors())


def test_asking_for_more_neighbours_changes_no_identity():
    one, two = (Knn(neighbour=n, embedding=Vectors()) for n in (6, (6, 10)))
    assert one.identity() == two.identity()


def test_a_pool_beyond_the_exact_size_is_searched_in_clusters():
    vectors = clustered(900, 24)
    vectors[7] = vectors[250]
    vectors[5] = np.nan
    batch = Batch(
        np.array([f"{row:032x}" for row in range(900)], dtype="S32"), (), {"embedding": vectors}
    )
    exact = Knn(exact_rows=900, embedding=Vectors()).open(Context(), ["knn6"])
    near = Knn(exact_rows=899, recall=0.9, embedding=Vectors()).open(Context(), ["knn6"])
    wanted, found = exact.score(batch), near.score(batch)
    assert exact.facts == {}
    assert near.facts["recall"] >= 0.9
    a, b = wanted.values["knn6"], found.values["knn6"]
    assert np.isnan(b[5])
    assert found.reasons == wanted.reasons
    usable = np.isfinite(a)
    assert (b[usable] >= a[usable] - 1e-12).all()  # a missed neighbour makes it larger
    assert np.mean(np.isclose(a[usable], b[usable], rtol=1e-12)) > 0.6
    near.score(Batch(batch.ids[:300], (), {"embedding": vectors[:300]}))
    assert near.facts == {}


def test_only_what_a_search_changes_is_in_the_recipe():
    plain = Knn(embedding=Vectors())
    other = Knn(exact_rows=5, recall=0.5, embedding=Vectors())
    assert plain.identity() == other.identity()
    assert plain.search_of(200_000) == {}
    assert plain.search_of(200_001) == {"search": "clusters", "recall": 0.95}
    assert other.search_of(6) == {"search": "clusters", "recall": 0.5}
    with pytest.raises(UsageError, match="knn.recall"):
        Knn(recall=0, embedding=Vectors())


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_grown_pool_has_the_distances_of_a_new_one(seed, added, count):
    rng = np.random.default_rng(seed)
    vectors = clustered(60 + added, 4, seed)
    vectors[rng.integers(0, len(vectors), 10)] = vectors[0]  # copies, old and new
    rows = rng.permutation(len(vectors))[:60]
    known = neighbour_distances(vectors[rows], count)
    np.testing.assert_array_equal(grown(vectors, rows, known), neighbour_distances(vectors, count))


def scored(vectors, earlier=None, neighbour=(6,)):
    indicator = Knn(neighbour=neighbour, embedding=Vectors())
    ids = np.array([f"{row:032x}" for row in range(len(vectors))], dtype="S32")
    batch = Batch(ids, (), {"embedding": vectors}, earlier)
    found = indicator.open(Context(), [f"knn{i}" for i in neighbour]).score(batch)
    return {**found.values, **found.kept}


def test_what_is_stored_of_a_part_is_used_and_changes_nothing(monkeypatch):
    vectors = clustered(80, 8)
    vectors[[3, 50]] = np.nan
    rows = np.arange(0, 70)
    part = Earlier(rows, scored(vectors[rows]))
    expected = scored(vectors)
    monkeypatch.setattr(knn, "neighbour_distances", None)  # not all pairs again
    for name, values in scored(vectors, part).items():
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize("case", ["no nearer ones", "too small a part", "an embedding came"])
def test_a_part_that_does_not_serve_is_left_aside(case):
    vectors = clustered(40, 8)
    rows = np.arange(5 if case == "too small a part" else 30)
    had = vectors[rows].copy()
    if case == "an embedding came":
        had[4] = np.nan
    values = scored(had)
    if case == "no nearer ones":
        values = {"knn6": values["knn6"]}
    expected = scored(vectors)
    for name, found in scored(vectors, Earlier(rows, values)).items():
        np.testing.assert_array_equal(found, expected[name])


def torch_index(vectors, queries):
    return nearest.DeviceIndex(
        vectors, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    )


@pytest.mark.parametrize("spread", [0.5, 1e-4])
def test_a_search_by_torch_gives_the_same_values(monkeypatch, spread):
    monkeypatch.setattr(nearest, "_PAIRS", 70 * 600)  # several blocks, the last one short
    vectors = clustered(600, 24, spread=spread)
    vectors[50:60] = vectors[40]
    expected = neighbour_distances(vectors, 6)
    np.testing.assert_array_equal(neighbour_distances(vectors, 6, torch_index), expected)
    known = neighbour_distances(vectors[:580], 6)
    np.testing.assert_array_equal(grown(vectors, np.arange(580), known, torch_index), expected)


def test_tf32_is_off_while_searching_and_back_afterwards(monkeypatch):
    multiply, used = torch.addmm, []

    def addmm(*arguments, **options):
        used.append(torch.get_float32_matmul_precision())
        return multiply(*arguments, **options)

    monkeypatch.setattr(torch, "addmm", addmm)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        torch_index(clustered(9, 4), 9).search(clustered(9, 4), 2)
        assert (used, torch.get_float32_matmul_precision()) == (["highest"], "high")
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("device,pairs,asked", [
    ("auto", 1, True), ("cuda:7", 1, True), ("cpu", 1, False), ("auto", 10**9, False),
])  # fmt: skip
def test_a_gpu_is_looked_for_where_it_would_pay(monkeypatch, device, pairs, asked):
    looked = []
    monkeypatch.setattr(knn, "_GPU_PAIRS", pairs)
    monkeypatch.setattr(nearest, "on_gpu", lambda vectors, context: looked.append(context.device))
    vectors = clustered(20, 3)
    indicator = Knn(neighbour=2, embedding=Vectors())
    batch = Batch(np.array([b"%032d" % i for i in range(20)]), (), {"embedding": vectors})
    found = indicator.open(Context(device=device), ["knn2"]).score(batch)
    assert looked == [device] * asked
    np.testing.assert_allclose(found.values["knn2"], brute(vectors, 2)[:, 1], rtol=1e-9)
