"""Equal shares of every cluster, the better ones first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.kmeans import kmeans
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import embeddings, ranking


@dataclass(frozen=True, kw_only=True)
class ClusterBalanced(Selector):
    """Round robin over K-means clusters of the embeddings.

    Round r takes the r-th best of every cluster that still has one, the best first; so rare
    kinds of work are as present as common ones until they run out. clusters: how many, default
    √(n/2). Grows as n × clusters × d × `iterations`; memory is the embeddings twice.

    Not covered: clusters of rubbish get their share too; choose inside the better half
    (`within`) unless the pool is clean.
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})
    clusters: int | None = None
    iterations: int = 20

    def __post_init__(self) -> None:
        """Refuse fewer than one cluster."""
        if self.clusters is not None and self.clusters < 1:
            raise UsageError(f"cluster-balanced.clusters must be at least 1, not {self.clusters}")

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank round by round. The seed starts K-means; the limit does not matter."""
        if not len(candidates):
            return ranking(candidates, np.empty(0, dtype=np.int64))
        by_id = np.argsort(candidates.ids, kind="stable")  # clusters must not depend on quality
        vectors = embeddings(candidates, "cluster-balanced", by_id)
        count = self.clusters or max(1, round(math.sqrt(len(candidates) / 2)))
        label = np.empty(len(candidates), dtype=np.int64)
        label[by_id] = kmeans(vectors, min(count, len(candidates)), seed, self.iterations)
        order = candidates.by_quality()
        turn = _position_in_group(label[order])
        chosen = order[np.argsort(turn, kind="stable")]  # within a round: by quality, then id
        return ranking(candidates, chosen)


def _position_in_group(labels: IntArray) -> IntArray:
    """Return for each element how many of its group came before it."""
    grouped = np.argsort(labels, kind="stable")
    sizes = np.bincount(labels)
    starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
    position = np.empty(len(labels), dtype=np.int64)
    position[grouped] = np.arange(len(labels)) - starts
    return position
