"""Farthest point first: cover the pool with as small a radius as possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_BLOCK = 512  # candidates whose distances are kept current between passes over the pool
_ROWS = 16_384  # pool rows per block of a pass: 32 MB of distances
_SAMPLE = 1000  # rows outside a draw that are looked at
_SEED = 0
_DECIMALS = 5  # float32 noise in a squared distance: below it, quality decides


@dataclass(frozen=True, kw_only=True)
class Kcenter(Selector):
    """Greedy k-center (Gonzalez 1985; core-set selection, Sener & Savarese 2018).

    Starts from the best quality, then always takes the candidate farthest (Euclidean) from all
    chosen ones, the better one of two equally far; the radius is at most twice the optimum.
    Grows as n × places × d, in matrix products; memory is the embeddings plus blocks.

    exact_rows: of more candidates so many are drawn, and the walk takes those alone. How many of
    the others lie within its radius, as all of the drawn ones do, is measured on a sample and
    said.

    Not covered: quality beyond the start. Farthest points are often the strangest ones, so
    choose inside the better half (`within`) unless the pool is clean.
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})
    exact_rows: int = 1_000_000

    def __post_init__(self) -> None:
        """Refuse a draw of nothing."""
        if self.exact_rows < 1:
            raise UsageError(f"kcenter.exact_rows must be at least 1, not {self.exact_rows}")

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank greedily; with a limit the greedy choice ends there. The seed does not matter."""
        order = candidates.by_quality()
        wanted = places(candidates, limit)
        if len(order) <= self.exact_rows:
            vectors = embeddings(candidates, "kcenter", order)
            return ranking(candidates, order[farthest_first(vectors, wanted)])
        # Drawn by place in the order of quality, so row order has no say; the best is among them.
        draw = np.random.default_rng(_SEED).permutation(len(order) - 1) + 1
        drawn = order[np.concatenate([[0], np.sort(draw[: self.exact_rows - 1])])]
        vectors = embeddings(candidates, "kcenter", drawn)
        chosen = farthest_first(vectors, min(wanted, len(drawn)))
        others = np.sort(order[draw[self.exact_rows - 1 :][:_SAMPLE]])
        covered = _covered(vectors, chosen, embeddings(candidates, "kcenter", others))
        note = (
            f"kcenter walked over {len(drawn):,} drawn of {len(order):,} candidates; "
            f"{covered:.1%} of {len(others):,} others lie within its radius"
        )
        return ranking(candidates, drawn[chosen], (note,))


def _covered(vectors: FloatMatrix, chosen: IntArray, others: FloatMatrix) -> float:
    """Return the share of other rows that are as near to a chosen one as all drawn ones are."""
    if not len(chosen):
        return 0.0
    centres = vectors[chosen]
    return float((_nearest(others, centres) <= _nearest(vectors, centres).max()).mean())


def _nearest(rows: FloatMatrix, centres: FloatMatrix) -> npt.NDArray[np.float32]:
    """Return the squared distance of each row to the nearest centre, (n,)."""
    norms = np.einsum("ij,ij->i", centres, centres)
    nearest = np.empty(len(rows), dtype=np.float32)
    step = max(1, _ROWS * _BLOCK // max(_BLOCK, len(centres)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        distances = squared(part, np.einsum("ij,ij->i", part, part), centres, norms)
        nearest[start : start + step] = distances.min(axis=1)
    return nearest


def farthest_first(vectors: FloatMatrix, wanted: int) -> IntArray:
    """Return the first `wanted` positions of a farthest-first walk that starts at position 0.

    Fewer, once only copies of those are left.

    Exact, though most distances are stale most of the time: a distance to the chosen set only
    shrinks, so a stale one is an upper bound. The walk picks inside the `_BLOCK` farthest, whose
    distances are kept current, as long as the best of them exceeds every bound outside; then one
    matrix product brings the whole pool up to date with all picks at once.
    """
    norms = np.einsum("ij,ij->i", vectors, vectors)
    bound = np.full(len(vectors), np.inf, dtype=np.float32)
    chosen: list[int] = []
    while len(chosen) < wanted:
        if chosen:
            left = len(vectors) - len(chosen)
            size = min(_BLOCK, left)
            block = np.sort(np.argpartition(-bound, size - 1)[:size])  # taken ones are at -inf
        else:
            block = np.zeros(1, dtype=np.int64)
        picks = _pick_inside(vectors, norms, bound, block, wanted - len(chosen))
        chosen.extend(picks)
        _update(vectors, norms, bound, np.array(picks))
        bound[chosen] = -np.inf
        if bound.max() <= 0:  # only copies of chosen ones are left: those follow by quality
            break
    return np.array(chosen, dtype=np.int64)


def _pick_inside(
    vectors: FloatMatrix,
    norms: npt.NDArray[np.float32],
    bound: npt.NDArray[np.float32],
    block: IntArray,
    wanted: int,
) -> list[int]:
    """Pick from the block while its best is certainly the best of all; at least one."""
    outside = bound.copy()
    outside[block] = -np.inf
    ceiling = outside.max()
    current = bound[block]
    if len(block) == 1:
        return [int(block[0])]
    within = squared(vectors[block], norms[block], vectors[block], norms[block])
    picks: list[int] = []
    while len(picks) < min(wanted, len(block)):
        best = int(np.argmax(current))
        # An equal bound outside may belong to a better one: only a first pick, at which
        # all bounds are current, may tie, and ties at the edge go to the lower position.
        if picks and current[best] <= max(ceiling, 0):
            break
        if not picks and current[best] == ceiling:
            return [int(np.flatnonzero(bound == ceiling)[0])]
        picks.append(int(block[best]))
        np.minimum(current, within[best], out=current)
        current[best] = -np.inf
    return picks


def _update(
    vectors: FloatMatrix,
    norms: npt.NDArray[np.float32],
    bound: npt.NDArray[np.float32],
    picks: IntArray,
) -> None:
    """Lower every bound to the distance to the nearest of the new picks."""
    for start in range(0, len(vectors), _ROWS):
        rows = slice(start, start + _ROWS)
        near = squared(vectors[rows], norms[rows], vectors[picks], norms[picks]).min(axis=1)
        np.minimum(bound[rows], near, out=bound[rows])


def squared(
    a: FloatMatrix,
    a_norms: npt.NDArray[np.float32],
    b: FloatMatrix,
    b_norms: npt.NDArray[np.float32],
) -> FloatMatrix:
    """Return squared distances (len(a), len(b)), rounded to what float32 can tell apart."""
    distances = a @ b.T
    distances *= -2
    distances += a_norms[:, None]
    distances += b_norms
    np.maximum(distances, 0, out=distances)
    return np.round(distances, _DECIMALS, out=distances)
