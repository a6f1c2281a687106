"""What selection works on and gives back: candidates, a ranking, a selection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from instructmine.comparison import Contrast, in_one_sentence
from instructmine.curves import SizeCurve
from instructmine.errors import UsageError
from instructmine.ids import order_by, words
from instructmine.pool import PoolRow, RowSource
from instructmine.scores import ScoreTable
from instructmine.trial_table import Trials

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The rows a selector may choose from.

    ids: (n,) S32. quality: (n,) lower is better, no NaN. scores: n rows, aligned.
    embeddings: (n, d) float32, unit length, or None. targets: (t, d) float32 unit, or None.
    """

    ids: npt.NDArray[np.bytes_]
    quality: npt.NDArray[np.float64]
    scores: ScoreTable
    embeddings: npt.NDArray[np.float32] | None = None
    targets: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of candidates."""
        return len(self.ids)

    def by_quality(self) -> IntArray:
        """Positions, best quality first, ties by id."""
        return self._by_quality

    @cached_property
    def _by_quality(self) -> IntArray:
        order, _ = order_by(self.quality, *words(self.ids))
        order.flags.writeable = False  # shared by all who ask
        return order

    def subset(self, rows: IntArray) -> Candidates:
        """Return the given candidates, in the given order."""
        return Candidates(
            ids=self.ids[rows],
            quality=self.quality[rows],
            scores=self.scores.take(rows),
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            targets=self.targets,
        )


@dataclass(frozen=True)
class Ranking:
    """All candidates in order, best first: order[0] is the position of the best one.

    chosen: how many leading places the selector itself decided; the rest follows by quality.
    notes: what must be known of how it was done, that a search was approximate for example.
    """

    order: IntArray
    chosen: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse an order that is not a permutation: a selector may lose nobody."""
        count = len(self.order)
        seen = np.zeros(count, dtype=bool)
        seen[self.order[(self.order >= 0) & (self.order < count)]] = True
        if not seen.all():
            raise ValueError("a ranking must hold every candidate exactly once")

    def remarks(self, taken: int) -> tuple[str, ...]:
        """Return what must be known where the first `taken` rows are used: the notes, and more.

        The more: where those are more rows than the selector itself decided.
        """
        if taken <= self.chosen:
            return self.notes
        followed = (
            f"the selector decided the first {self.chosen:,} of {taken:,} rows; the rest follows "
            "by quality"
        )
        return (*self.notes, followed)


@dataclass(frozen=True)
class Scoring:
    """What `score` measured and where it wrote it."""

    scores: ScoreTable
    manifest: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of scored pool rows."""
        return len(self.scores)


@dataclass(frozen=True)
class Plan:
    """What a run would do (`--dry-run`).

    rows, rejected, distinct: readable rows, unreadable rows, distinct examples.
    tokens: prompt and response tokens of the pool, estimated from a sample, by the profile's
    length tokenizer. work: per indicator rows to score, rows stored, model, and seconds expected
    from what scoring cost before on this work folder (None where it was never measured).
    """

    rows: int
    rejected: int
    distinct: int
    tokens: int
    work: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class TrialRun:
    """What `trials` measured and where it wrote it."""

    trials: Trials
    manifest: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of trials, failed and repeated ones counted."""
        return len(self.trials)


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured and where it wrote it.

    table: one row per strategy, size and eval set: `strategy, size, eval, seeds, loss…,
    difference…, p, p_corrected, multiplier…, verdict, rows, tokens` (of the chosen rows),
    `tokens_trained, steps, train_seconds, select_seconds, source:NAME…`, means over seeds.
    Losses are in nats per token; a negative difference speaks for the strategy.
    contrasts: the same numbers.
    """

    table: pa.Table
    contrasts: tuple[Contrast, ...]
    manifest: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)

    def explain(self) -> list[str]:
        """Say in one sentence per strategy where it did better or worse than random."""
        names = dict.fromkeys(one.strategy for one in self.contrasts if one.difference)
        return [in_one_sentence(self.contrasts, name) for name in names]


@dataclass(frozen=True)
class SizeSearch:
    """What `search` found: how many examples of the ranked pool to train on.

    curves: ranking → eval set → loss against size; the ranking and the set that was searched by
    come first. summary: what `search.json` holds. trials: one row per training.
    """

    curves: Mapping[str, Mapping[str, SizeCurve]]
    summary: Mapping[str, Any]
    trials: Trials
    manifest: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size to take: the smallest no worse than the best beyond noise."""
        return int(self.summary["size"])

    @property
    def eval(self) -> str:
        """Name of the set that was searched by."""
        return next(iter(next(iter(self.curves.values()))))

    @property
    def curve(self) -> SizeCurve:
        """Loss against size on that set."""
        return next(iter(self.curves.values()))[self.eval]

    def explain(self) -> list[str]:
        """Say in a few sentences what was found, how sure it is, and why the search ended."""
        found, cost = self.summary, self.summary["cost"]
        low, high = found["best_interval"]
        if found["size"] == found["best"]:
            why = "the lowest loss, and every smaller size is worse by more than a standard error"
            if found["size"] == min(self.curve.sizes):
                why = "the lowest loss, at the smallest size tried"
        else:
            why = (
                f"the smallest no worse than {found['best']:,}, the lowest, by more than a "
                "standard error"
            )
        return [
            f"train on {found['size']:,} examples: {why}",
            f"the best size lies between {low:,} and {high:,} (95 %)",
            found["shape"]["explained"],
            f"{cost['trials']} trainings, {cost['tokens']:,} tokens, "
            f"{cost['seconds'] / 60:,.1f} minutes; stopped: {found['stopped']}",
        ]


@dataclass(frozen=True)
class TrialPlan:
    """What a run of trials would do (`--dry-run` of `trials`, `compare` and `search`).

    rows: readable pool rows. trials, finished: rows of the table, and those already in the work
    folder. seconds_each, seconds: measured on this machine, for one trial and for what is
    left, all workers counted. measured: "past trials" of this trainer, or "a short training".
    """

    rows: int
    trials: int
    finished: int
    seconds_each: float
    seconds: float
    measured: str


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured and where it wrote it.

    results: JSON-like: `loss`, `judge` and `openllm`, each where it was asked for.
    prompts: one row per model, prompt and turn, with losses, answers, verdicts and grades.
    complete: False where a limit kept verdicts from being asked for.
    """

    results: Mapping[str, Any]
    prompts: pa.Table
    manifest: Mapping[str, Any]
    complete: bool = True
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluationPlan:
    """What a run of `evaluate` would do (`evaluate --dry-run`).

    losses: (model, eval set) pairs to compute. answers: model → answers to generate. questions,
    known: verdicts wanted and those already kept. requests, tokens_in, tokens_out, cost: of the
    rest, estimated; answers that are not there yet are taken to have a typical length. cost is
    None without prices. tasks: of OpenLLM, per model.
    """

    losses: int
    answers: Mapping[str, int]
    questions: int
    known: int
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None
    tasks: int


@dataclass(frozen=True)
class Selection:
    """What `select` decided about every row of the pool, and where it wrote it.

    decisions: one row per pool row: source, row, id, indicators, quality, rank, selected, reason.
    """

    decisions: pa.Table
    manifest: Mapping[str, Any]
    files: Mapping[str, Path] = field(default_factory=dict)
    pool: RowSource | None = field(default=None, repr=False)

    def __len__(self) -> int:
        """Number of selected rows."""
        return int(np.count_nonzero(self.decisions.column("selected").to_numpy()))

    @property
    def selected(self) -> pa.Table:
        """The chosen rows of `decisions`, best first."""
        return self.decisions.filter(self.decisions.column("selected")).sort_by("rank")

    @property
    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, the part after "of", "by" or ":" left out."""
        return count_reasons(self.decisions.column("reason"))

    @property
    def ranked(self) -> pa.Table:
        """The rows of `decisions` that could be chosen, best first."""
        return self.decisions.filter(self.decisions.column("rank").is_valid()).sort_by("rank")

    def places(self, first: int, last: int) -> pa.Table:
        """Rows of `decisions` at the places `first` to `last` of the ranking, counted from 1."""
        rank = self.decisions.column("rank")
        inside = pc.and_(pc.greater_equal(rank, first), pc.less_equal(rank, last))
        return self.decisions.filter(inside).sort_by("rank")

    def rows(self, decisions: pa.Table) -> list[PoolRow]:
        """Read the pool rows that some rows of `decisions` are about, in their order."""
        if self.pool is None:
            raise UsageError("this selection was made without its pool; open the pool and fetch")
        sources, rows = (decisions.column(name).to_pylist() for name in ("source", "row"))
        return self.pool.fetch(list(zip(sources, rows, strict=True)))


def count_reasons(reasons: pa.ChunkedArray) -> dict[str, int]:
    """Count reasons by what stands before "of", "by" or ":", the commonest first; no nulls."""
    counts: Counter[str] = Counter()
    for chunk in reasons.chunks:
        for one in pc.value_counts(chunk.drop_null()).to_pylist():
            head = str(one["values"]).split(" of ")[0].split(" by ")[0].split(":")[0]
            counts[head] += one["counts"]
    return dict(counts.most_common())


@dataclass(frozen=True)
class Iteration(Selection):
    """What `iterate` decided about every row of the pool, and how it came to it.

    decisions: as of a selection, with `round, m, r, q, label, label_source`. rounds: facts of
    each. classifier: folder of the last one, for the indicator `hardness`.
    """

    rounds: tuple[Mapping[str, Any], ...] = ()
    classifier: Path | None = None


@dataclass(frozen=True)
class IterationPlan:
    """What `iterate` would take at most (`--dry-run`): answers of the model, requests to the judge.

    rows, candidates: readable pool rows, and those that can be chosen. tokens_in, tokens_out, cost:
    of the requests; cost is None without prices.
    """

    rows: int
    candidates: int
    per_round: int
    holdout: int
    answers: int
    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None
