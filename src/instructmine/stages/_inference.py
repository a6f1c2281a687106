"""Phase 2 of IterSelectTune (arXiv 2410.13464): fill the hard set without a judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instructmine.iterselect import best
from instructmine.stages._rounds import HARD, Rounds


@dataclass(frozen=True)
class Inferred:
    """All candidates in order: found hard by the judge, then taken without one, then the rest.

    by_judge, chosen: how many of the order were found by the judge, and how many in all.
    m, r, q, step, label, source: by candidate; NaN, -1 and "" where there is none.
    cut: candidates whose prompt is longer than the classifier reads.
    """

    order: npt.NDArray[np.int64]
    by_judge: int
    chosen: int
    m: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]
    step: npt.NDArray[np.int64]
    label: list[str]
    source: list[str]
    cut: int


def infer(rounds: Rounds, target: int) -> Inferred:
    """Add the best of the rest to the hard set, batch by batch, without a judge (phase 2).

    Held-out rows that the judge called hard count as found; nothing learned from them.
    """
    n = len(rounds.ids)
    m, r, q = (np.full(n, np.nan) for _ in range(3))
    step = np.full(n, -1, dtype=np.int64)
    label, source = [""] * n, [""] * n
    for row, one in zip(rounds.held.tolist(), rounds.held_labels.each, strict=True):
        label[row], source[row] = one, "judge"
    for each in rounds.done:
        m[each.rows], r[each.rows], q[each.rows] = each.m, each.r, each.q
        step[each.rows] = each.number
        for row, one in zip(each.rows.tolist(), each.labels.each, strict=True):
            label[row], source[row] = one, "judge"
    held = [row for row in rounds.held.tolist() if label[row] == HARD]
    hard = np.array([*rounds.hard.tolist(), *held], dtype=np.int64)
    by_judge = len(hard)
    free = rounds.free
    everywhere, cut = rounds.probability(np.arange(n))
    m[free] = everywhere[free]
    number = len(rounds.done)
    while len(hard) < target and len(free):
        subset = rounds.diverse(free, number)
        r[subset], q[subset] = rounds.near(subset, hard, m[subset])
        taken = best(subset, q[subset], rounds.ids, min(rounds.batch, target - len(hard)))
        step[taken] = number
        for row in taken.tolist():
            label[row], source[row] = HARD, "classifier"
        hard = np.concatenate([hard, taken])
        free = np.setdiff1d(free, taken)
        number += 1
        rounds.report("taking", len(hard), target)
    easy = np.setdiff1d(np.arange(n), np.concatenate([hard, free]))
    rest = best(free, np.nan_to_num(m[free], nan=-1.0), rounds.ids, len(free))
    order = np.concatenate([hard, rest, easy])
    return Inferred(order, by_judge, len(hard), m, r, q, step, label, source, cut)


def with_labels(decisions: pa.Table, free: npt.NDArray[np.int64], found: Inferred) -> pa.Table:
    """Return the decisions with `round, m, r, q, label, label_source`, null where there is none."""
    n = decisions.num_rows
    numbers = {"m": found.m, "r": found.r, "q": found.q}
    steps = np.full(n, -1, dtype=np.int64)
    steps[free] = found.step
    decisions = decisions.append_column("round", pa.array(steps, mask=steps < 0))
    for name, values in numbers.items():
        column = np.full(n, np.nan)
        column[free] = values
        decisions = decisions.append_column(name, pa.array(column, mask=np.isnan(column)))
    for name, texts in (("label", found.label), ("label_source", found.source)):
        column_: list[str | None] = [None] * n
        for position, text in zip(free.tolist(), texts, strict=True):
            column_[position] = text or None
        decisions = decisions.append_column(name, pa.array(column_, pa.string()))
    return decisions
