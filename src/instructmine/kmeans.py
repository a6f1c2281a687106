"""K-means on many vectors: faiss's rounds from a well-spread start."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def kmeans(
    vectors: FloatMatrix,
    clusters: int,
    seed: int,
    iterations: int = 20,
    sample: int | None = None,
) -> IntArray:
    """Return each row's K-means cluster, (n,) int64; the same for the same rows and seed.

    sample: most rows that the centroids are learned from; None takes all.
    """
    import faiss

    if clusters == 1:
        return np.zeros(len(vectors), dtype=np.int64)
    learned = vectors
    if sample is not None and max(sample, clusters) < len(vectors):
        rows = np.random.default_rng(seed).choice(len(vectors), max(sample, clusters), False)
        learned = vectors[np.sort(rows)]
    model = faiss.Kmeans(
        vectors.shape[1],
        clusters,
        niter=iterations,
        seed=seed % 2**31,  # faiss holds it in an int
        min_points_per_centroid=1,  # else faiss warns on stderr about small pools
        max_points_per_centroid=-(-len(learned) // clusters),  # use every row
    )
    model.train(learned, init_centroids=_spread_centroids(learned, clusters, seed))
    _, nearest = model.index.search(vectors, 1)
    return nearest[:, 0].astype(np.int64)


def _spread_centroids(vectors: FloatMatrix, clusters: int, seed: int) -> FloatMatrix:
    """Draw the first centroids far apart: greedy k-means++ (Arthur & Vassilvitskii 2007).

    Each is the best of a few draws, as in scikit-learn. Drawn plainly at random, as faiss does
    it, K-means ends in clearly worse clusters.
    """
    generator = np.random.default_rng(seed)
    norms = np.einsum("ij,ij->i", vectors, vectors)
    rows = [int(generator.integers(len(vectors)))]
    nearest = np.full(len(vectors), np.inf)
    draws = 2 + int(math.log(clusters))
    drawn = np.array(rows)
    while True:
        distance = norms[:, None] + norms[drawn] - 2 * (vectors @ vectors[drawn].T)
        distance[drawn, np.arange(len(drawn))] = 0
        distance = np.minimum(np.maximum(distance, 0), nearest[:, None])
        best = int(np.argmin(distance.sum(axis=0, dtype=np.float64)))
        rows[-1], nearest = int(drawn[best]), distance[:, best]
        if len(rows) == clusters:
            return vectors[rows]
        total = np.cumsum(nearest, dtype=np.float64)
        if total[-1] > 0:
            drawn = np.searchsorted(total, generator.random(draws) * total[-1], side="right")
            drawn = np.minimum(drawn, len(vectors) - 1)
        else:  # fewer different rows than clusters
            drawn = generator.integers(len(vectors), size=draws)
        rows.append(-1)
