"""How far an example lies from the others: distance to the i-th nearest neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine import plugins
from instructmine.contracts import (
    Batch,
    Column,
    Context,
    Indicator,
    Scored,
    Scorer,
    execution,
)
from instructmine.errors import UsageError
from instructmine.neighbours import ClusterSearch, squared_distances

_QUERIES = 4096  # rows searched at once
_SPARE = 4  # extra neighbours fetched, so that float32 noise seldom hides a true one
_EPSILON = float(np.finfo(np.float32).eps)

FloatMatrix = npt.NDArray[np.float32]
IntMatrix = npt.NDArray[np.int64]


def _embedding() -> Indicator:
    made: Indicator = plugins.load("indicators", "embedding", Indicator)()
    return made


@dataclass(frozen=True, kw_only=True)
class Knn(Indicator):
    """Euclidean distance to the i-th nearest neighbour of the same pool, as in InstructMining.

    Higher means rarer. The example itself is left out by its position, and copies of a row are
    neighbours at distance exactly 0. The value depends on the pool it is searched in, so it
    belongs to that pool.

    neighbour: which neighbours, one column each (`knn6`); several cost no more than the last.
    exact_rows: larger pools are searched approximately, which is another recipe; up to here
    every neighbour is a true one. recall: smallest share of true neighbours that an approximate
    search finds on a sample. A neighbour that is missed makes a value too large, never too small.
    Exact, it grows as n² × d with the embeddings twice in memory; approximate, as about n^1.5 × d
    with a quarter more than once.

    Not covered: a rare example may be precious or broken; distance does not tell which.
    """

    version: ClassVar[int] = 1
    scope: ClassVar[Literal["example", "pool"]] = "pool"
    inputs: ClassVar[tuple[str, ...]] = ("embedding",)
    reads_text: ClassVar[bool] = False
    neighbour: tuple[int, ...] = execution((6,))  # the column's name says it, so no identity
    embedding: Indicator = field(default_factory=_embedding)
    exact_rows: int = 200_000
    recall: float = 0.95

    def __post_init__(self) -> None:
        """Take a single number for a tuple of one; refuse what is no neighbour."""
        given = self.neighbour
        wanted = (given,) if isinstance(given, int) else tuple(given)
        if not wanted or min(wanted) < 1:
            raise UsageError(f"knn.neighbour counts from 1, so it cannot be {given}")
        if not 0 < self.recall <= 1:
            raise UsageError(f"knn.recall must be in (0, 1], not {self.recall}")
        object.__setattr__(self, "neighbour", tuple(sorted(set(wanted))))

    def identity(self) -> dict[str, Any]:
        """The fields, but for those that say how a large pool is searched: see `search_of`."""
        fields = super().identity()
        return {name: fields[name] for name in fields if name not in ("exact_rows", "recall")}

    def search_of(self, rows: int) -> dict[str, Any]:
        """Return what the recipe says of how a pool of so many rows is searched; {}: exactly."""
        return {"search": "clusters", "recall": self.recall} if rows > self.exact_rows else {}

    @property
    def columns(self) -> tuple[Column, ...]:
        """One column per neighbour: `knn6` for the sixth."""
        return tuple(Column(f"knn{i}", "higher", "Euclidean distance") for i in self.neighbour)

    def open(self, context: Context, columns: Sequence[str]) -> Scorer:
        """Return the scorer; nothing is loaded but faiss."""
        wanted = tuple(i for i in self.neighbour if f"knn{i}" in columns)
        return _KnnScorer(wanted, context.threads, self.exact_rows, self.recall)


class _KnnScorer:
    def __init__(
        self, neighbour: tuple[int, ...], threads: int | None, exact_rows: int, recall: float
    ) -> None:
        self.neighbour = neighbour
        self.threads = threads
        self.exact_rows = exact_rows
        self.recall = recall
        self.facts: dict[str, Any] = {}  # of the last pool: how it was searched, if not exactly

    def score(self, batch: Batch) -> Scored:
        """Score all rows of a pool at once; `batch.inputs["embedding"]` is (n, d)."""
        import faiss

        if self.threads is not None:
            faiss.omp_set_num_threads(self.threads)
        vectors = np.asarray(batch.inputs["embedding"], dtype=np.float32)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        reasons = dict.fromkeys(
            np.setdiff1d(np.arange(len(vectors)), usable).tolist(), "no embedding"
        )
        values = {f"knn{i}": np.full(len(vectors), np.nan) for i in self.neighbour}
        possible = [i for i in self.neighbour if i < len(usable)]
        for i in self.neighbour:
            if i not in possible:
                short = f"the pool has {len(usable)} rows, neighbour {i} needs {i + 1}"
                for row in usable.tolist():
                    reasons[row] = f"{reasons[row]}; {short}" if row in reasons else short
        if possible:
            distances = self._distances(vectors[usable], possible[-1], len(vectors))
            for i in possible:
                values[f"knn{i}"][usable] = distances[:, i - 1]
        return Scored(values, reasons)

    def _distances(self, vectors: FloatMatrix, count: int, rows: int) -> npt.NDArray[np.float64]:
        self.facts = {}
        if rows <= self.exact_rows:
            return neighbour_distances(vectors, count)
        found = ClusterSearch(vectors, count, self.recall)
        self.facts = found.search.to_json()
        squared = np.concatenate([distances for _, _, distances in found.blocks()])
        short = np.flatnonzero(~np.isfinite(squared[:, -1]))  # too few in the clusters looked into
        if len(short):
            squared[short] = _search_float64(vectors, short, count)
        return np.sqrt(squared)


def neighbour_distances(vectors: FloatMatrix, count: int) -> npt.NDArray[np.float64]:
    """Return (n, count) Euclidean distances to the nearest other rows, ascending.

    faiss finds the neighbours in float32, where ‖x−y‖² = ‖x‖² + ‖y‖² − 2xy cancels and copies
    come out anywhere near 0. So the distances of the found ones are recomputed from the
    differences, and a row whose true neighbours the noise may have hidden is searched again in
    float64: what is returned is exact.

    Args:
        vectors: (n, d), finite.
        count: how many neighbours, less than n.
    """
    import faiss

    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    rows = len(vectors)
    # Distances do not depend on the origin, their rounding does: centre first.
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    largest = float(np.einsum("ij,ij->i", centred, centred).max(initial=0.0))
    noise = 4 * _EPSILON * np.sqrt(vectors.shape[1]) * largest
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(centred)
    fetch = min(rows, count + 1 + _SPARE)
    result = np.empty((rows, count))
    for start in range(0, rows, _QUERIES):
        query = np.arange(start, min(start + _QUERIES, rows))
        approximate, found = index.search(centred[query], fetch)
        exact = squared_distances(vectors, query, found)
        exact[found == query[:, None]] = np.inf  # itself, by position, wherever it came
        exact.sort(axis=1)
        result[query] = exact[:, :count]
        if fetch < rows:  # rows not fetched are at least this far, up to noise
            doubtful = (exact[:, count - 1] > approximate[:, -1] - noise) & (
                exact[:, count - 1] > 0
            )
            if doubtful.any():
                result[query[doubtful]] = _search_float64(vectors, query[doubtful], count)
    return np.sqrt(result)


def _search_float64(
    vectors: FloatMatrix, query: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Return the `count` smallest squared distances of some rows, searched in float64."""
    result = np.empty((len(query), count))
    double = vectors.astype(np.float64)
    double -= double.mean(axis=0)
    norms = np.einsum("ij,ij->i", double, double)
    fetch = min(len(vectors), count + 1)
    for start in range(0, len(query), 256):
        rows = query[start : start + 256]
        distances = norms - 2 * (double[rows] @ double.T)  # the row's own norm does not order
        found = np.argpartition(distances, fetch - 1, axis=1)[:, :fetch]
        exact = squared_distances(vectors, rows, found)
        exact[found == rows[:, None]] = np.inf
        exact.sort(axis=1)
        result[start : start + 256] = exact[:, :count]
    return result
