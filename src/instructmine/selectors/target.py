"""Towards a target: each target example in turn takes its nearest candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import FloatMatrix, embeddings, places, ranking

_TARGETS = 64  # targets whose candidates are looked up in one matrix product
_DECIMALS = 5  # float32 noise in a cosine: below it, quality decides


@dataclass(frozen=True, kw_only=True)
class Target(Selector):
    """Round robin of RDS+ (Ivison et al. 2025, arXiv 2503.01807).

    Each target, in the order of its file, takes its nearest not-yet-taken candidate by cosine,
    the better one of two equally near; then the next round begins. So every target has the same
    say, and a smaller budget is a prefix. Grows as t × n × d plus places × log; memory is
    64 × n similarities plus a short list per target.

    Not covered: quality. Choosing inside the better half (`within`) keeps poor rows out.
    """

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset(
        {"embeddings", "targets"}
    )

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank by round robin; with a limit it ends there. The seed does not matter."""
        targets = candidates.targets
        if targets is None or not len(targets):
            raise UsageError("selector 'target' needs target examples; pass --target FILE")
        order = candidates.by_quality()
        vectors = embeddings(candidates, "target", order)
        wanted = places(candidates, limit)
        return ranking(candidates, order[_round_robin(vectors, targets, wanted)])


def _round_robin(vectors: FloatMatrix, targets: FloatMatrix, wanted: int) -> IntArray:
    taken = np.zeros(len(vectors), dtype=bool)
    # Twice a target's fair share covers most collisions; a list that runs dry is refilled.
    depth = min(len(vectors), max(16, 2 * -(-wanted // len(targets))))
    lists: list[IntArray] = []
    for start in range(0, len(targets), _TARGETS):
        lists.extend(_nearest(vectors, targets[start : start + _TARGETS], depth, taken))
    cursor = [0] * len(targets)
    chosen: list[int] = []
    while len(chosen) < wanted:
        for number in range(len(targets)):
            if len(chosen) == wanted:
                break
            while True:
                if cursor[number] == len(lists[number]):
                    one = targets[number : number + 1]
                    lists[number] = _nearest(vectors, one, depth, taken)[0]
                    cursor[number] = 0
                row = int(lists[number][cursor[number]])
                cursor[number] += 1
                if not taken[row]:
                    break
            taken[row] = True
            chosen.append(row)
    return np.array(chosen, dtype=np.int64)


def _nearest(
    vectors: FloatMatrix, targets: FloatMatrix, depth: int, taken: np.ndarray
) -> list[IntArray]:
    """Return per target at least `depth` free positions (or all), nearest first, ties lowest."""
    free = np.flatnonzero(~taken)
    similarity = np.round(targets @ vectors.T, _DECIMALS)
    found = []
    for row in similarity:
        values = row[free]
        if depth < len(free):
            cut = np.partition(values, len(values) - depth)[len(values) - depth]
            keep = np.flatnonzero(values >= cut)  # all of those that tie at the edge
        else:
            keep = np.arange(len(free))
        found.append(free[keep[np.argsort(-values[keep], kind="stable")]])
    return found
