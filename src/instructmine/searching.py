"""One search for a size: asks a searcher, has its sizes measured, and decides when to stop.

Knows nothing of models: what a size leads to comes from a function, which may train or, for a
replay, read a curve that is known.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.curves import Point, SizeCurve

FloatArray = npt.NDArray[np.float64]
NEAR = 1.5  # a neighbour of the best size is at most so many times as large or as small
KNOWN = 20  # so many proposals in a row of sizes that have all their seeds end any search


@dataclass(frozen=True)
class Outcome:
    """What one training came to. losses: per prompt; None where `error` says why.

    rows: examples trained on, tokens: of those, repeats counted in both. seconds: of training.
    """

    losses: FloatArray | None
    rows: float
    seconds: float = 0.0
    tokens: float = 0.0
    error: str | None = None


Measure = Callable[[Sequence[tuple[int, int]]], Sequence[Outcome]]  # of (size, number of seed)


@dataclass(frozen=True)
class Limits:
    """What a search may spend; None: no limit.

    trials: trainings, never exceeded. seconds, tokens: of training; the proposal that reaches one
    is finished. patience: for searchers without an end, see `Exploration.settled`.
    """

    trials: int | None = None
    seconds: float | None = None
    tokens: float | None = None
    patience: int | None = 3


@dataclass(frozen=True)
class Step:
    """One proposal. trials, rows: all trained up to here. best: the size of the lowest loss now."""

    size: int
    trials: int
    rows: float
    best: int | None


@dataclass
class Exploration:
    """What a search has measured, proposal by proposal. stopped: why it ended.

    anchor: the last real improvement. fruitless: sizes measured since.
    """

    sizes: SizeRange
    outcomes: dict[int, list[Outcome]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    stopped: str = ""
    fruitless: int = 0
    anchor: Point | None = None

    @property
    def trials(self) -> int:
        """Trainings, failed ones counted."""
        return sum(map(len, self.outcomes.values()))

    def spent(self, what: str) -> float:
        """Return the sum of rows, seconds or tokens."""
        every = [one for found in self.outcomes.values() for one in found]
        return float(sum(getattr(one, what) for one in every))

    def point(self, size: int) -> Point | None:
        """Return a size with all its losses; None where a training of it diverged."""
        losses = [one.losses for one in self.outcomes.get(size, ()) if one.losses is not None]
        if not losses or len(losses) < len(self.outcomes[size]):
            return None
        return Point(size, np.stack(losses))

    def curve(self) -> SizeCurve | None:
        """Return the sizes measured so far; None while there is none with a loss."""
        points = [point for size in self.outcomes if (point := self.point(size)) is not None]
        return SizeCurve(points) if points else None

    def take(self, size: int, fresh: Sequence[Outcome]) -> float:
        """Keep what was measured; return the mean loss of the size so far, NaN if it diverged.

        A size improves if its loss is below that of the last improvement by more than a standard
        error of their difference, so that many small steps within the noise are none.
        """
        self.outcomes.setdefault(size, []).extend(fresh)
        point, curve = self.point(size), self.curve()
        best = curve.best.size if curve else None
        self.steps.append(Step(size, self.trials, self.spent("rows"), best))
        if point is None or curve is None:
            self.fruitless += bool(fresh)
            return float("nan")
        anchor = self.anchor
        if anchor is None or anchor.loss - point.loss > curve.standard_error(anchor, point):
            self.anchor, self.fruitless = point, 0
        else:
            self.fruitless += bool(fresh)
        return point.loss

    def settled(self, patience: int) -> bool:
        """Tell whether more search cannot pay.

        `patience` sizes in a row have brought no improvement, and the best size has a measured
        neighbour within a factor of 1.5 on either side, or is the end of the range: what lies
        between them differs by less than the noise. Without neighbours twice as many are waited
        for.
        """
        curve = self.curve()
        if self.fruitless < patience or curve is None:
            return False
        best = curve.best.size
        below = best == self.sizes.minimum or any(
            best / NEAR <= size < best for size in curve.sizes
        )
        above = best == self.sizes.maximum or any(
            best < size <= best * NEAR for size in curve.sizes
        )
        return (below and above) or self.fruitless >= 2 * patience


def explore(
    searcher: Searcher,
    sizes: SizeRange,
    measure: Measure,
    *,
    seed: int,
    limits: Limits,
    ahead: int = 1,
) -> Exploration:
    """Run a search to its end.

    ahead: so many trainings may be asked for together; it has no influence on the result. Where
    only the searcher or a number of trials ends the search, all that it proposes are.
    """
    search = searcher.open(sizes, seed=seed)
    found = Exploration(sizes)
    each = searcher.seeds_per_ask or sizes.seeds
    patience = limits.patience if searcher.open_ended else None
    if patience is None and limits.seconds is None and limits.tokens is None:
        ahead = sys.maxsize
    known = 0
    while not found.stopped:
        group, why = _proposals(search, found, each, limits, ahead)
        if not group:
            found.stopped = why
            break
        results = iter(measure([job for _, jobs in group for job in jobs]))
        for size, jobs in group:
            if found.stopped:  # measured for nothing, and kept for another time
                break
            fresh = [next(results) for _ in jobs]
            known = 0 if jobs else known + 1
            loss = found.take(size, fresh)
            search.tell(size, loss, sum(one.rows for one in fresh))
            found.stopped = _reason(found, limits, patience, known)
    return found


Proposal = tuple[int, list[tuple[int, int]]]  # a size, and what has to be trained for it


def _proposals(
    search: Search, found: Exploration, each: int, limits: Limits, ahead: int
) -> tuple[list[Proposal], str]:
    """Return the next proposals, at most as many trainings as may run together, but one at least.

    With none, say why.
    """
    group: list[Proposal] = []
    count = {size: len(one) for size, one in found.outcomes.items()}
    trials = found.trials
    while not group or sum(len(jobs) for _, jobs in group) + each <= ahead:
        if limits.trials is not None and trials + each > limits.trials:
            return group, f"--max-trials {limits.trials}"
        size = search.ask()
        if size is None:
            return group, "nothing left to propose"
        first = count.get(size, 0)
        jobs = [(size, k) for k in range(first, min(first + each, found.sizes.seeds))]
        count[size] = first + len(jobs)
        trials += len(jobs)
        group.append((size, jobs))
        if not jobs:
            break
    return group, ""


def _reason(found: Exploration, limits: Limits, patience: int | None, known: int) -> str:
    """Say why the search is over; nothing while it goes on."""
    if limits.seconds is not None and found.spent("seconds") >= limits.seconds:
        return f"--max-minutes {limits.seconds / 60:g}"
    if limits.tokens is not None and found.spent("tokens") >= limits.tokens:
        return f"--max-tokens {limits.tokens:,.0f}"
    if patience is not None and found.settled(patience):
        return f"{found.fruitless} sizes in a row brought nothing beyond noise"
    if known >= KNOWN:
        return f"{known} proposals in a row were known"
    return ""
