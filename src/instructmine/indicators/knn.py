"""How far an example lies from the others: distance to the i-th nearest neighbour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from instructmine import plugins
from instructmine.contracts import (
    Batch,
    Column,
    Context,
    Earlier,
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
_GPU_PAIRS = 10**9  # to be compared, from which on it pays to look for a GPU

FloatMatrix = npt.NDArray[np.float32]
IntMatrix = npt.NDArray[np.int64]


class Index(Protocol):
    """Vectors that can be searched in float32."""

    def search(self, queries: FloatMatrix, count: int, /) -> tuple[FloatMatrix, IntMatrix]:
        """Return (m, count) squared distances and positions, the nearest first."""
        ...


MakeIndex = Callable[[FloatMatrix, int], Index]
"""Makes an index of vectors, given how many queries there will be."""


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
    Exact, it grows as n² × d with the embeddings twice in memory, and as m × n × d where m rows
    were added to a pool whose distances are stored; approximate, as about n^1.5 × d with a quarter
    more than once. A large exact search runs on a CUDA GPU where there is one; the values are
    equal.

    Not covered: a rare example may be precious or broken; distance does not tell which.
    """

    version: ClassVar[int] = 1
    scope: ClassVar[Literal["example", "pool"]] = "pool"
    grows: ClassVar[bool] = True
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
        """Return the scorer; nothing is loaded yet."""
        wanted = tuple(i for i in self.neighbour if f"knn{i}" in columns)
        return _KnnScorer(wanted, context, self.exact_rows, self.recall)


class _KnnScorer:
    def __init__(
        self, neighbour: tuple[int, ...], context: Context, exact_rows: int, recall: float
    ) -> None:
        self.neighbour = neighbour
        self.context = context
        self.exact_rows = exact_rows
        self.recall = recall
        self.facts: dict[str, Any] = {}  # of the last pool: how it was searched, if not exactly

    def score(self, batch: Batch) -> Scored:
        """Score all rows of a pool at once; `batch.inputs["embedding"]` is (n, d)."""
        import faiss

        if self.context.threads is not None:
            faiss.omp_set_num_threads(self.context.threads)
        vectors = np.asarray(batch.inputs["embedding"], dtype=np.float32)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        reasons = dict.fromkeys(
            np.setdiff1d(np.arange(len(vectors)), usable).tolist(), "no embedding"
        )
        # The nearer ones cost nothing, and a pool that grows out of this one needs them.
        every = range(1, self.neighbour[-1] + 1)
        values = {f"knn{i}": np.full(len(vectors), np.nan) for i in every}
        possible = [i for i in every if i < len(usable)]
        for i in self.neighbour:
            if i not in possible:
                short = f"the pool has {len(usable)} rows, neighbour {i} needs {i + 1}"
                for row in usable.tolist():
                    reasons[row] = f"{reasons[row]}; {short}" if row in reasons else short
        if possible:
            distances = self._distances(vectors, usable, possible[-1], batch.earlier)
            for i in possible:
                values[f"knn{i}"][usable] = distances[:, i - 1]
        wanted = {f"knn{i}": values.pop(f"knn{i}") for i in self.neighbour}
        return Scored(wanted, reasons, kept=values)

    def _distances(
        self, vectors: FloatMatrix, usable: IntMatrix, count: int, earlier: Earlier | None
    ) -> npt.NDArray[np.float64]:
        self.facts = {}
        own = vectors[usable]
        if len(vectors) <= self.exact_rows:
            known = _known(earlier, usable, count)
            if known is None:
                return neighbour_distances(own, count, self._index)
            return grown(own, *known, self._index)
        found = ClusterSearch(own, count, self.recall)
        self.facts = found.search.to_json()
        squared = np.concatenate([distances for _, _, distances in found.blocks()])
        short = np.flatnonzero(~np.isfinite(squared[:, -1]))  # too few in the clusters looked into
        if len(short):
            squared[short] = _search_float64(own, short, np.arange(len(own)), count)
        return np.sqrt(squared)

    def _index(self, vectors: FloatMatrix, queries: int) -> Index:
        if self.context.device != "cpu" and queries * len(vectors) >= _GPU_PAIRS:
            from instructmine.models.nearest import on_gpu

            if (index := on_gpu(vectors, self.context)) is not None:
                return index
        return faiss_index(vectors, queries)


def faiss_index(vectors: FloatMatrix, queries: int) -> Index:
    """Return an index on the CPU."""
    import faiss

    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(vectors)
    return index  # type: ignore[no-any-return]


def _known(
    earlier: Earlier | None, usable: IntMatrix, count: int
) -> tuple[IntMatrix, npt.NDArray[np.float64]] | None:
    """Return the rows whose distances in a part of the pool are all stored, and the distances.

    Rows are counted among the usable ones.
    """
    names = [f"knn{i}" for i in range(1, count + 1)]
    if earlier is None or not set(names) <= set(earlier.values):
        return None
    distances = np.column_stack([earlier.values[name] for name in names])
    whole = np.isfinite(distances).all(axis=1)
    place = np.full(max(usable.max(), earlier.rows.max()) + 1, -1)
    place[usable] = np.arange(len(usable))
    rows = place[earlier.rows]
    # A row that had an embedding and too few neighbours is one of the others' neighbours already.
    return (rows[whole], distances[whole]) if (whole == (rows >= 0)).all() else None


def neighbour_distances(
    vectors: FloatMatrix, count: int, make_index: MakeIndex = faiss_index
) -> npt.NDArray[np.float64]:
    """Return (n, count) Euclidean distances to the nearest other rows, ascending.

    The index finds the neighbours in float32, where ‖x−y‖² = ‖x‖² + ‖y‖² − 2xy cancels and copies
    come out anywhere near 0. So the distances of the found ones are recomputed from the
    differences, and a row whose true neighbours the noise may have hidden is searched again in
    float64: what is returned is exact.

    Args:
        vectors: (n, d), finite.
        count: how many neighbours, less than n.
        make_index: what searches in float32.
    """
    every = np.arange(len(vectors))
    return np.sqrt(_nearest(vectors, every, every, count, make_index))


def grown(
    vectors: FloatMatrix,
    rows: IntMatrix,
    known: npt.NDArray[np.float64],
    make_index: MakeIndex = faiss_index,
) -> npt.NDArray[np.float64]:
    """Return what `neighbour_distances` does, from the distances that some rows have among them.

    Only pairs with one of the other rows are compared.

    Args:
        vectors: (n, d), finite.
        rows: (m,) those rows, each once.
        known: (m, count) distances from each to its nearest among them, ascending.
        make_index: what searches in float32.
    """
    count = known.shape[1]
    every = np.arange(len(vectors))
    added = np.setdiff1d(every, rows)
    result = np.empty((len(vectors), count))
    result[rows] = known
    if len(added):
        result[added] = np.sqrt(_nearest(vectors, added, every, count, make_index))
        closer = np.sqrt(_nearest(vectors, rows, added, count, make_index))
        result[rows] = np.sort(np.hstack([known, closer]), axis=1)[:, :count]
    return result


def _nearest(
    vectors: FloatMatrix, query: IntMatrix, among: IntMatrix, count: int, make_index: MakeIndex
) -> npt.NDArray[np.float64]:
    """Return (len(query), count) squared distances to the nearest of the rows `among`.

    The row itself is none of them; infinite where there are fewer.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    # Distances do not depend on the origin, their rounding does: centre first.
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    largest = float(np.einsum("ij,ij->i", centred, centred).max(initial=0.0))
    noise = 4 * _EPSILON * np.sqrt(vectors.shape[1]) * largest
    index = make_index(centred if len(among) == len(vectors) else centred[among], len(query))
    fetch = min(len(among), count + 1 + _SPARE)
    result = np.full((len(query), count), np.inf)
    for start in range(0, len(query), _QUERIES):
        part = slice(start, min(start + _QUERIES, len(query)))
        rows = query[part]
        approximate, found = index.search(centred[rows], fetch)
        found = among[found]
        exact = squared_distances(vectors, rows, found)
        exact[found == rows[:, None]] = np.inf  # itself, by position, wherever it came
        exact.sort(axis=1)
        exact = exact[:, :count]
        result[part, : exact.shape[1]] = exact
        if fetch < len(among):  # rows not fetched are at least this far, up to noise
            doubtful = (exact[:, -1] > approximate[:, -1] - noise) & (exact[:, -1] > 0)
            if doubtful.any():
                again = _search_float64(vectors, rows[doubtful], among, count)
                result[start + np.flatnonzero(doubtful)] = again
    return result


def _search_float64(
    vectors: FloatMatrix, query: IntMatrix, among: IntMatrix, count: int
) -> npt.NDArray[np.float64]:
    """Return what `_nearest` does, searched in float64; `among` holds more than `count` rows."""
    result = np.empty((len(query), count))
    double = vectors.astype(np.float64)
    double -= double.mean(axis=0)
    there = double[among]
    norms = np.einsum("ij,ij->i", there, there)
    fetch = min(len(among), count + 1)
    for start in range(0, len(query), 256):
        rows = query[start : start + 256]
        distances = norms - 2 * (double[rows] @ there.T)  # the row's own norm does not order
        found = among[np.argpartition(distances, fetch - 1, axis=1)[:, :fetch]]
        exact = squared_distances(vectors, rows, found)
        exact[found == rows[:, None]] = np.inf
        exact.sort(axis=1)
        result[start : start + 256] = exact[:, :count]
    return result
