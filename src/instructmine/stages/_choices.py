"""Which rows each strategy of a comparison takes at each size, with each seed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from instructmine.comparison import BASE, FULL, RANDOM
from instructmine.errors import UsageError
from instructmine.stages._budget import Budget
from instructmine.stages._cost import scoring_seconds
from instructmine.stages._measure import Measurement
from instructmine.stages._ranked import ScoredPool, Strategy
from instructmine.stages._run import Run
from instructmine.stages._strategies import DRAWN, Entrant, RankingFile
from instructmine.stages._trainings import Training

MATCHES = ("rows", "tokens", "steps")


@dataclass(frozen=True)
class Choice:
    """What one strategy trains on at one size: one training per seed.

    size: rows asked for; None where it has no say (base model, full pool). budget: what is equal
    for all, rows or pool tokens. draws: every seed has rows of its own.
    select_seconds: what choosing cost, scoring the pool included. remarks: see `Ranking.remarks`.
    """

    strategy: str
    size: int | None
    budget: int | None
    trainings: tuple[Training, ...]
    draws: bool = False
    select_seconds: float = 0.0
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """How a comparison is matched and repeated. curve: further sizes of random alone."""

    sizes: tuple[int, ...]
    match: str
    seeds: tuple[int, ...]
    curve: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what gives no comparison."""
        if self.match not in MATCHES:
            raise UsageError(f"cannot match by '{self.match}'; by {', '.join(MATCHES)}")
        if not self.sizes or min(*self.sizes, *self.curve, 1) < 1:
            raise UsageError("--size and --random-size must be 1 or more")
        if len(self.seeds) < 2:
            raise UsageError("--seeds must be 2 or more: one seed says nothing about another")

    def sizes_of(self, name: str) -> tuple[int, ...]:
        """Return the sizes that a strategy is trained at."""
        return tuple(sorted({*self.sizes, *self.curve})) if name == RANDOM else self.sizes

    def budget(self, scored: ScoredPool, size: int) -> Budget:
        """Return what may be spent at a size: rows, or the tokens of that many average rows."""
        if self.match != "tokens":
            return Budget(size=size)
        return Budget(tokens=max(1, round(size * float(scored.tokens[scored.free].mean()))))


def choices(
    run: Run,
    scored: ScoredPool,
    taking_part: Mapping[str, Entrant],
    measurements: Sequence[Measurement],
    how: Round,
) -> Iterator[Choice]:
    """Yield what every entrant trains on.

    Raises UsageError for a size beyond the pool, or a ranking that ends before it.
    """
    for name, one in taking_part.items():
        if one == BASE:
            yield Choice(name, None, None, (Training(scored.free[:0], how.seeds[0]),))
        elif one == FULL:
            trainings = tuple(Training(scored.free, seed) for seed in how.seeds)
            if how.match == "steps":  # as many steps as the others at each size
                for size in how.sizes:
                    yield Choice(name, size, size, trainings)
            else:
                yield Choice(name, None, None, trainings)
        elif isinstance(one, RankingFile):
            order = one.order(scored.index, scored.free)
            yield from _prefixes(name, scored, [order] * len(how.seeds), how)
        elif isinstance(one, Strategy):
            yield from _ranked(run, name, one, scored, measurements, how)


def _ranked(
    run: Run,
    name: str,
    one: Strategy,
    scored: ScoredPool,
    measurements: Sequence[Measurement],
    how: Round,
) -> Iterator[Choice]:
    draws = name in DRAWN
    tokens = scored.tokens[scored.free]
    limit = max(
        how.budget(scored, size).limit(len(scored.index), tokens) for size in how.sizes_of(name)
    )
    started = time.perf_counter()
    own = scored.passing(one)
    rankings = [
        own.rank(one, seed=seed, limit=limit) for seed in (how.seeds if draws else how.seeds[:1])
    ]
    orders = [own.free[ranking.order] for ranking in rankings]
    seconds = (time.perf_counter() - started) / len(orders)
    read = [m for m in measurements if {*m.columns} & {*one.columns}]
    if one.selector.needs and scored.embedded:
        read.append(scored.embedded.measurement)
    cost = round(seconds + scoring_seconds(run, scored.index, read), 2)
    each = orders if draws else orders * len(how.seeds)
    for choice in _prefixes(name, scored, each, how):
        taken = len(choice.trainings[0].positions)
        yield replace(choice, draws=draws, select_seconds=cost, remarks=rankings[0].remarks(taken))


def _prefixes(
    name: str, scored: ScoredPool, orders: Sequence[npt.NDArray[np.int64]], how: Round
) -> Iterator[Choice]:
    for size in how.sizes_of(name):
        budget = how.budget(scored, size)
        rows = [_prefix(name, scored, order, budget, size) for order in orders]
        trainings = tuple(Training(p, s) for p, s in zip(rows, how.seeds, strict=True))
        spent = budget.tokens or size
        yield Choice(name, size, spent, trainings)


def _prefix(
    name: str, scored: ScoredPool, order: npt.NDArray[np.int64], budget: Budget, size: int
) -> npt.NDArray[np.int64]:
    tokens = scored.tokens[order]
    if budget.tokens is None:
        if size > len(order):
            raise UsageError(
                f"--size {size} is more than the {len(order)} rows that '{name}' can take "
                "(the rest are gated, duplicates, contaminated, unscorable or not ranked); ask for "
                "fewer"
            )
        return order[:size]
    taken = budget.taken(0, tokens)
    if taken == len(order) and tokens.sum() < 0.9 * budget.tokens:
        raise UsageError(f"'{name}' ends before {budget.tokens:,} tokens; ask for a smaller --size")
    if taken == 0:
        raise UsageError(f"{budget.tokens:,} tokens are too few for one row of '{name}'")
    return order[:taken]
