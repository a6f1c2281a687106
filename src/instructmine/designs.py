"""Trial designs: which examples each trial trains on.

`mixture` is InstructMining's (arXiv 2307.06290): subsets merged from named sources in random
proportions. `stratified` draws them from the low, middle and high end of each indicator, so that
the fitted rule is asked about sets like those that selection will make.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError

DESIGNS = ("mixture", "stratified")
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subset:
    """The examples of one trial: ascending positions, and in a word where they come from."""

    positions: Positions
    about: str


def mixture(
    source: npt.NDArray[np.int32], names: Sequence[str], *, count: int, size: int, seed: int
) -> list[Subset]:
    """Draw subsets whose proportions of the sources are uniform over all mixtures.

    source: (n,) position in `names` of each row. A source smaller than its share gives all it
    has, and the rest is spread over the others in proportion to theirs.
    Raises UsageError for an empty source, or where all of them hold fewer rows than a subset.
    """
    members = [np.flatnonzero(source == code) for code in range(len(names))]
    for name, rows in zip(names, members, strict=True):
        if not len(rows):
            raise UsageError(f"source '{name}' has no usable row; leave it out of the pool")
    _check_size(size, len(source))
    rng = np.random.default_rng([seed, 1])
    held = np.array([len(rows) for rows in members])
    subsets = []
    for _ in range(count):
        counts = _spread(rng.dirichlet(np.ones(len(names))), held, size)
        chosen = [
            rng.choice(rows, number, replace=False)
            for rows, number in zip(members, counts, strict=True)
        ]
        parts = (f"{name} {n / size:.2f}" for name, n in zip(names, counts, strict=True) if n)
        subsets.append(Subset(np.sort(np.concatenate(chosen)), ", ".join(parts)))
    return subsets


def _spread(
    shares: npt.NDArray[np.float64], held: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    """Turn shares into counts that sum to `size` and exceed no source's rows."""
    counts = np.zeros(len(shares), dtype=np.int64)
    while (left := size - int(counts.sum())) > 0:
        room = held - counts
        weights = np.where(room > 0, np.maximum(shares, 1e-9), 0.0)
        wanted = left * weights / weights.sum()
        whole = np.floor(wanted).astype(np.int64)
        rest = np.argsort(-(wanted - whole), kind="stable")[: left - int(whole.sum())]
        whole[rest] += 1
        counts += np.minimum(whole, room)
    return counts


def stratified(
    values: Mapping[str, npt.NDArray[np.float64]], *, count: int, size: int, seed: int
) -> list[Subset]:
    """Draw subsets from the low, middle or high rows of one indicator after the other.

    values: indicator → (n,), no NaN. Trial t takes indicator t modulo their number; low, middle
    and high follow each other. The depth of a stratum is drawn log-uniformly from the size of a
    subset to a third of the rows: a shallow one lies as far out as a selection does. Rows are
    ranked, ties in the order of the rows given; an indicator that ranks them as an earlier one does
    (a length and its logarithm) has the same strata and is passed over.
    Raises UsageError for an indicator without variation or a size beyond the rows.
    """
    if not values:
        raise UsageError("a stratified design needs at least one indicator")
    n = len(next(iter(values.values())))
    _check_size(size, n)
    rng = np.random.default_rng([seed, 2])
    order: dict[str, Positions] = {}
    for name, column in values.items():
        if np.ptp(column) == 0:
            raise UsageError(f"indicator '{name}' is the same for every row; leave it out")
        ranked = np.argsort(column, kind="stable")
        if not any(np.array_equal(ranked, other) for other in order.values()):
            order[name] = ranked
    names = list(order)
    subsets = []
    for trial in range(count):
        name = names[trial % len(names)]
        stratum = ("low", "high", "middle")[trial // len(names) % 3]
        deepest = max(size, n // 3)
        depth = int(round(size * (deepest / size) ** rng.uniform()))
        start = {"low": 0, "middle": (n - depth) // 2, "high": n - depth}[stratum]
        inside = order[name][start : start + depth]
        chosen = np.sort(rng.choice(inside, size, replace=False))
        subsets.append(Subset(chosen, f"{stratum} {name}, {depth / n:.3f} of the rows"))
    return subsets


def _check_size(size: int, rows: int) -> None:
    if size < 1:
        raise UsageError(f"--size must be 1 or more, not {size}")
    if size > rows:
        raise UsageError(
            f"a subset of {size:,} rows cannot be drawn from {rows:,} usable ones; give a smaller "
            "--size or a larger pool"
        )
