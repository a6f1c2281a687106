"""Phase 2 of IterSelectTune (arXiv 2410.13464): fill the hard set without a judge."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instructmine.iterselect import best
from instructmine.stages._rounds import EASY, HARD, Rounds


@dataclass(frozen=True)
class Inferred:
    """All candidates in order: found hard by the judge, then taken without one, then the rest.

    taken: how many of the order were found or taken. m, r, q, step, label, source: by candidate;
    NaN, -1 and "" where there is none. problem: why the judge gave no label, or "".
    cut: candidates whose prompt is longer than the classifier reads.
    """

    order: npt.NDArray[np.int64]
    taken: int
    m: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]
    step: npt.NDArray[np.int64]
    label: list[str]
    source: list[str]
    problem: list[str]
    cut: int


def infer(rounds: Rounds, target: int) -> Inferred:
    """Add the best of the rest to the hard set, batch by batch, without a judge (phase 2).

    Held-out rows that the judge called hard count as found; nothing learned from them. What is
    taken is labelled by what the classifier holds of it: the target may be above what is hard.
    """
    n = len(rounds.ids)
    m, r, q = (np.full(n, np.nan) for _ in range(3))
    step = np.full(n, -1, dtype=np.int64)
    label, source, problem = [""] * n, [""] * n, [""] * n
    judged = [*zip(rounds.held.tolist(), rounds.held_labels.each, strict=True)]
    for each in rounds.done:
        m[each.rows], r[each.rows], q[each.rows] = each.m, each.r, each.q
        step[each.rows] = each.number
        judged += zip(each.rows.tolist(), each.labels.each, strict=True)
    for row, one in judged:
        if one in (HARD, EASY):
            label[row], source[row] = one, "judge"
        else:
            problem[row] = one
    held = [row for row in rounds.held.tolist() if label[row] == HARD]
    hard = np.array([*rounds.hard.tolist(), *held], dtype=np.int64)
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
            label[row], source[row] = HARD if m[row] >= 0.5 else EASY, "classifier"
        hard = np.concatenate([hard, taken])
        free = np.setdiff1d(free, taken)
        number += 1
        rounds.report("taking", len(hard), target)
    easy = np.setdiff1d(np.arange(n), np.concatenate([hard, free]))
    rest = best(free, np.nan_to_num(m[free], nan=-1.0), rounds.ids, len(free))
    order = np.concatenate([hard, rest, easy])
    return Inferred(order, len(hard), m, r, q, step, label, source, problem, cut)


def with_labels(decisions: pa.Table, free: npt.NDArray[np.int64], found: Inferred) -> pa.Table:
    """Return the decisions with what the rounds came to; null where there is none.

    Columns: `round, m, r, q, label, label_source, label_problem`.
    """
    n = decisions.num_rows
    numbers = {"m": found.m, "r": found.r, "q": found.q}
    steps = np.full(n, -1, dtype=np.int64)
    steps[free] = found.step
    decisions = decisions.append_column("round", pa.array(steps, mask=steps < 0))
    for name, values in numbers.items():
        column = np.full(n, np.nan)
        column[free] = values
        decisions = decisions.append_column(name, pa.array(column, mask=np.isnan(column)))
    named = {"label": found.label, "label_source": found.source, "label_problem": found.problem}
    for name, texts in named.items():
        column_: list[str | None] = [None] * n
        for position, text in zip(free.tolist(), texts, strict=True):
            column_[position] = text or None
        decisions = decisions.append_column(name, pa.array(column_, pa.string()))
    return decisions


def chosen_by(decisions: pa.Table) -> dict[str, int]:
    """Return how many of the chosen rows are hard or easy, and by whom: {"hard, judge": 3, …}."""
    chosen = decisions.filter(decisions.column("selected"))
    pairs = zip(
        chosen.column("label").to_pylist(), chosen.column("label_source").to_pylist(), strict=True
    )
    counts = Counter(f"{label}, {source}" if label else "not labelled" for label, source in pairs)
    return dict(sorted(counts.items(), reverse=True))
