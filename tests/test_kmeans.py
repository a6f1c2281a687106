"""K-means: planted clusters are found, from all rows and from a sample of them."""

import numpy as np
import pytest

from instructmine.kmeans import kmeans


@pytest.fixture
def planted():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16)) * 10
    label = rng.integers(5, size=3000)
    return (centres[label] + rng.normal(size=(3000, 16))).astype(np.float32), label


@pytest.mark.parametrize("sample", [None, 200, 3000, 10_000])
def test_planted_clusters_are_found(planted, sample):
    vectors, label = planted
    found = kmeans(vectors, 5, seed=1, sample=sample)
    pairs = set(zip(label.tolist(), found.tolist(), strict=True))
    assert len(pairs) == 5 and len({one for _, one in pairs}) == 5


def test_the_same_rows_and_seed_give_the_same_clusters(planted):
    vectors, _ = planted
    assert (kmeans(vectors, 7, 3, sample=100) == kmeans(vectors, 7, 3, sample=100)).all()


def test_a_sample_smaller_than_the_clusters_is_as_many_rows(planted):
    vectors, _ = planted
    assert len(np.unique(kmeans(vectors, 50, 0, sample=10))) > 1
