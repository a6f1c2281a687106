"""Selectors made of selectors: inside the better part, and in proportion to the sources.

Both are selectors themselves, so they nest: `Stratified(selector=Within(selector=Target()))`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.results import Candidates, IntArray, Ranking
from instructmine.selectors._order import places, ranking


@dataclass(frozen=True, kw_only=True)
class _Wrapper(Selector):
    """A selector that asks another one; what that one needs and reads, this one does."""

    selector: Selector

    @property
    def needs(self) -> Any:  # type: ignore[override]
        """What the inner selector needs."""
        return self.selector.needs

    @property
    def columns(self) -> Any:  # type: ignore[override]
        """Score columns the inner selector reads."""
        return self.selector.columns

    @property
    def uses_quality(self) -> Any:  # type: ignore[override]
        """Whether the inner selector reads quality."""
        return self.selector.uses_quality


@dataclass(frozen=True, kw_only=True)
class Within(_Wrapper):
    """Lets the inner selector order only the better `share` of the candidates by quality.

    The rest follows by quality. "Quality first, then target or diversity": a target or a diversity
    selector takes poor rows too, and this keeps most of them from it.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a share that is none."""
        if not 0 < self.share <= 1:
            raise UsageError(f"the share to choose within must be in (0, 1], not {self.share}")

    @property
    def uses_quality(self) -> Any:  # type: ignore[override]
        """Always: quality decides which part is the better one."""
        return True

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank the better share with the inner selector, the rest by quality."""
        better = candidates.by_quality()[: math.ceil(self.share * len(candidates))]
        inner = self.selector.rank(candidates.subset(better), seed=seed, limit=limit)
        order = ranking(candidates, better[inner.order]).order
        return Ranking(order, inner.chosen, inner.notes)


@dataclass(frozen=True, kw_only=True)
class Stratified(_Wrapper):
    """Ranks every stratum on its own and interleaves, so that each prefix keeps the proportions.

    by: the column of the score table that names the stratum. After any p places each stratum
    has its exact share of p, rounded down or up. equal: the strata take turns instead, one row
    each, as long as they last.
    """

    by: str = "source"
    equal: bool = False

    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank within each stratum by the inner selector, then interleave in proportion."""
        table = candidates.scores.table
        if self.by not in table.column_names:
            raise UsageError(f"the scores have no column '{self.by}' to stratify by")
        names, labels = _strata(table.column(self.by))
        orders: list[IntArray] = []
        decided: list[int] = []
        notes: list[str] = []
        for stratum in range(len(names)):
            rows = np.flatnonzero(labels == stratum)
            quota = limit
            if limit is not None and not self.equal:
                quota = -(-places(candidates, limit) * len(rows) // len(candidates))
            inner = self.selector.rank(candidates.subset(rows), seed=seed, limit=quota)
            orders.append(rows[inner.order])
            decided.append(inner.chosen)
            notes += [f"{names[stratum]}: {note}" for note in inner.notes]
        sizes = [len(order) for order in orders]
        turns = equal_turns(sizes) if self.equal else proportional_turns(sizes)
        number = np.empty(len(turns), dtype=np.int64)  # how many of its stratum came before
        for stratum, order in enumerate(orders):
            number[turns == stratum] = np.arange(len(order))
        order = np.empty(len(turns), dtype=np.int64)
        for stratum, rows in enumerate(orders):
            order[turns == stratum] = rows
        followed = np.flatnonzero(number >= np.asarray(decided, dtype=np.int64)[turns])
        own = int(followed[0]) if len(followed) else len(order)
        return Ranking(order, own, tuple(notes))


def _strata(column: Any) -> tuple[list[str], IntArray]:
    """Return the different values of a column as sorted text, and which of them each row has."""
    coded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    texts = [str(value) for value in coded.dictionary.to_pylist()]
    names = sorted(set(texts))
    place = {name: number for number, name in enumerate(names)}
    numbers = np.array([place[text] for text in texts], dtype=np.int64)
    return names, numbers[coded.indices.to_numpy()]


def equal_turns(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return whose turn it is at each place: one after the other, those that ran out left out."""
    rounds = np.concatenate([np.arange(size) for size in sizes])
    strata = np.repeat(np.arange(len(sizes)), sizes)
    return strata[np.lexsort((strata, rounds))]


def proportional_turns(sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return whose turn it is at each place: stratum g occurs sizes[g] times.

    After p of n places stratum g had floor or ceil of p · sizes[g] / n turns. Item j of a
    stratum of m may come from place ⌊jn/m⌋ on and must have come by place ⌈(j+1)n/m⌉; serving
    the earliest deadline first meets them all (Baruah et al. 1996, proportionate progress).
    """
    total = sum(sizes)
    waiting = [(0, stratum, 0) for stratum, size in enumerate(sizes) if size]
    heapq.heapify(waiting)  # (release, stratum, item)
    ready: list[tuple[int, int, int]] = []  # (deadline, stratum, item)
    turns = np.empty(total, dtype=np.int64)
    for place in range(total):
        while waiting and waiting[0][0] <= place:
            _, stratum, item = heapq.heappop(waiting)
            heapq.heappush(ready, (-(-(item + 1) * total // sizes[stratum]), stratum, item))
        _, stratum, item = heapq.heappop(ready)
        turns[place] = stratum
        if item + 1 < sizes[stratum]:
            release = (item + 1) * total // sizes[stratum]
            heapq.heappush(waiting, (release, stratum, item + 1))
    return turns
