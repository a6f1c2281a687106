"""Nearest rows of large pools, approximately, with the recall measured.

Rows are put into clusters and a row is compared with those of the nearest clusters only (inverted
lists; Jégou et al. 2011), on a byte per dimension: about n^1.5 × d instead of n² × d, and a
quarter of the vectors more memory. How many clusters are looked into is decided by measurement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatMatrix = npt.NDArray[np.float32]
IntMatrix = npt.NDArray[np.int64]

SAMPLE = 1000  # rows whose true neighbours are searched to measure the recall
_TRAINED = 50  # rows per cluster that clusters are learned from
_QUERIES = 4096  # rows searched at once
_PAIRS = 512  # pairs whose distance is recomputed at once: what stays in the cache
_SEED = 0


@dataclass(frozen=True)
class Search:
    """How a pool was searched.

    recall: share of the true neighbours of `sampled` rows that were found. probes of clusters:
    how many of the clusters were looked into.
    """

    recall: float
    sampled: int
    clusters: int
    probes: int

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON-like values."""
        return {
            "search": "clusters",
            "recall": round(self.recall, 4),
            "sampled": self.sampled,
            "clusters": self.clusters,
            "probes": self.probes,
        }

    def explain(self) -> str:
        """Say in a few words how exact the search was."""
        return (
            f"searched approximately: recall {self.recall:.3f}, measured on {self.sampled:,} rows"
        )


class ClusterSearch:
    """Finds the nearest other rows of each row, approximately; the same for the same rows."""

    def __init__(self, vectors: FloatMatrix, count: int, recall: float) -> None:
        """Build the index, and look into more clusters until `recall` is reached on a sample.

        Args:
            vectors: (n, d), finite.
            count: how many neighbours are wanted, less than n.
            recall: smallest share of true neighbours to be found among the sample's.
        """
        import faiss

        self.vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        self.count = count
        rows, width = self.vectors.shape
        rng = np.random.default_rng(_SEED)
        clusters = min(rows, round(2 * rows**0.5))
        self._coarse = faiss.IndexFlatL2(width)  # the index does not keep it alive by itself
        self._index = faiss.IndexIVFScalarQuantizer(
            self._coarse, width, clusters, faiss.ScalarQuantizer.QT_8bit
        )
        self._index.cp.min_points_per_centroid = 1  # else faiss warns on stderr
        self._index.cp.max_points_per_centroid = 2 * _TRAINED
        drawn = rng.choice(rows, min(rows, _TRAINED * clusters), replace=False)
        self._index.train(self.vectors[np.sort(drawn)])
        self._index.add(self.vectors)
        sample = np.sort(rng.choice(rows, min(rows, SAMPLE), replace=False))
        self.search = self._measured(sample, clusters, recall)

    def _measured(self, sample: IntMatrix, clusters: int, wanted: float) -> Search:
        limit = self._true_limits(sample)
        probes = min(4, clusters)
        while True:
            self._index.nprobe = probes
            _, distances = self._nearest(sample)
            found = float((distances <= limit[:, None]).mean())
            if found >= wanted or probes == clusters:
                return Search(found, len(sample), clusters, probes)
            probes = min(2 * probes, clusters)

    def _true_limits(self, sample: IntMatrix) -> npt.NDArray[np.float64]:
        """Return the squared distance of the last true neighbour of some rows."""
        import faiss

        flat = faiss.IndexFlatL2(self.vectors.shape[1])
        flat.add(self.vectors)
        fetch = min(self.count + 5, len(self.vectors))  # the row itself, and room for rounding
        found = flat.search(self.vectors[sample], fetch)[1]
        exact = np.sort(self._exact(sample, found), axis=1)
        return exact[:, self.count - 1] * (1 + 1e-9) + 1e-12  # as far counts as found

    def blocks(self) -> Iterator[tuple[slice, IntMatrix, npt.NDArray[np.float64]]]:
        """Yield (rows, neighbours, squared distances) for all rows, a block at a time.

        Neighbours are (m, count), nearest first, -1 at distance infinity where fewer were found.
        The row itself is none of them; distances are exact.
        """
        for start in range(0, len(self.vectors), _QUERIES):
            rows = slice(start, min(start + _QUERIES, len(self.vectors)))
            yield (rows, *self._nearest(np.arange(rows.start, rows.stop)))

    def _nearest(self, rows: IntMatrix) -> tuple[IntMatrix, npt.NDArray[np.float64]]:
        spare = 4 + self.count // 4  # what a byte per dimension may have put out of order
        fetch = min(self.count + 1 + spare, len(self.vectors))
        found = self._index.search(self.vectors[rows], fetch)[1]
        exact = self._exact(rows, found)
        order = np.argsort(exact, axis=1, kind="stable")[:, : self.count]
        exact = np.take_along_axis(exact, order, axis=1)
        found = np.take_along_axis(found, order, axis=1)
        return np.where(np.isfinite(exact), found, -1), exact

    def _exact(self, rows: IntMatrix, found: IntMatrix) -> npt.NDArray[np.float64]:
        exact = squared_distances(self.vectors, rows, np.maximum(found, 0))
        exact[(found < 0) | (found == rows[:, None])] = np.inf
        return exact


def squared_distances(
    vectors: FloatMatrix, rows: IntMatrix, found: IntMatrix
) -> npt.NDArray[np.float64]:
    """Return squared distances of found pairs, from differences: 0 for copies, no cancelling.

    Args:
        vectors: (n, d).
        rows: (m,) positions.
        found: (m, k) positions to measure the distance to.
    """
    left = np.repeat(rows, found.shape[1])
    right = found.ravel()
    squared = np.empty(len(left))
    for start in range(0, len(left), _PAIRS):
        part = slice(start, start + _PAIRS)
        difference = vectors[left[part]].astype(np.float64)
        difference -= vectors[right[part]]
        np.square(difference, out=difference)
        squared[part] = difference.sum(axis=1)
    return squared.reshape(found.shape)
