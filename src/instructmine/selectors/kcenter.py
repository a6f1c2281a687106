"""Farthest point first: cover the pool with as small a radius as possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_BLOCK = 512  # candidates whose distances are kept current between passes over the pool
_ROWS = 16_384  # pool rows per block of a pass: 32 MB of distances
_DECIMALS = 5  # float32 noise in a squared distance: below it, quality decides


@dataclass(frozen=True, kw_only=True)
class Kcenter(Selector):
    """Greedy k-center (Gonzalez 1985; core-set selection, Sener & Savarese 2018).

    Starts from the best quality, then always takes the candidate farthest (Euclidean) from all
    chosen ones, the better one of two equally far; the radius is at most twice the optimum.
    Grows as n × places × d, in matrix products; memory is the embeddings plus blocks.

    Not covered: quality beyond the start. Farthest points are often the strangest ones, so
    choose inside the better half (`within`) unless the pool is clean.
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset({"embeddings"})

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank greedily; with a limit the greedy choice ends there. The seed does not matter."""
        order = candidates.by_quality()
        vectors = embeddings(candidates, "kcenter", order)
        return ranking(candidates, order[farthest_first(vectors, places(candidates, limit))])


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
