import numpy as np
import pytest
from candidate_tables import candidates, unit

from instructmine.errors import UsageError
from instructmine.selectors.cluster_balanced import ClusterBalanced, kmeans


def test_every_cluster_gets_its_turn_the_best_first():
    made = candidates(200)
    by_id = np.argsort(made.ids)
    label = np.empty(200, dtype=int)
    label[by_id] = kmeans(made.embeddings[by_id], 6, seed=5)
    order = ClusterBalanced(clusters=6).rank(made, seed=5).order
    left = {cluster: made.by_quality()[label[made.by_quality()] == cluster] for cluster in range(6)}
    expected = []
    while any(len(rows) for rows in left.values()):
        heads = [rows[0] for rows in left.values() if len(rows)]
        expected += sorted(heads, key=lambda row: (made.quality[row], made.ids[row]))
        left = {cluster: rows[1:] for cluster, rows in left.items()}
    assert order.tolist() == expected


def test_clear_clusters_are_found():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], [180, 20])
    vectors = unit(np.eye(2)[truth] + 0.05 * rng.normal(size=(200, 2)))
    order = ClusterBalanced(clusters=2).rank(candidates(200, vectors=vectors)).order
    assert truth[order[:40]].sum() == 20


def test_kmeans_is_as_good_as_scikit_learn():
    from sklearn.cluster import KMeans

    vectors = candidates(800).embeddings

    def inertia(label):
        return sum(
            ((vectors[label == k] - vectors[label == k].mean(axis=0)) ** 2).sum()
            for k in np.unique(label)
        )

    ours = inertia(kmeans(vectors, 10, seed=0))
    theirs = [KMeans(10, n_init=1, random_state=seed).fit(vectors).inertia_ for seed in range(5)]
    assert ours < 1.1 * np.median(theirs)


def test_clusters_do_not_depend_on_quality():
    made = candidates(200)
    other = type(made)(made.ids, -made.quality, made.scores, made.embeddings)
    ours, theirs = (ClusterBalanced(clusters=200).rank(one) for one in (made, other))
    assert ours.order[:1].tolist() == made.by_quality()[:1].tolist()
    assert theirs.order[:1].tolist() == other.by_quality()[:1].tolist()


def test_says_nothing_on_small_pools(capfd):
    ClusterBalanced().rank(candidates(30))
    out, err = capfd.readouterr()
    assert out == err == ""


def test_fewer_than_one_cluster_is_refused():
    with pytest.raises(UsageError, match="clusters"):
        ClusterBalanced(clusters=0)
