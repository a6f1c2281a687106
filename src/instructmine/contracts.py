"""The contracts everything else is built from. Read this page first.

    pool files ─► Pool ─ Indicators ─► ScoreTable ─ FittedRule.predict ─► quality
                  Selector.rank(candidates) ─► Ranking ─ take(n) ─► Selection ─► files
                  subsets ─ Trainer.train ─► Checkpoint ─ Evaluator.evaluate ─► loss ─► Trials

Config objects (indicators, selectors, rules) are inert: frozen, hashable, picklable, free of
models. Models live only in what `Indicator.open` returns. Randomness only through a seed.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError
from instructmine.evals import Checkpoint, EvalSet, SetLoss
from instructmine.modelref import ModelRef
from instructmine.pool import Example, Message
from instructmine.results import Candidates, Ranking
from instructmine.scores import ScoreTable
from instructmine.spending import Meter
from instructmine.verdicts import Answer, Question, Usage, Verdict

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
IdArray = npt.NDArray[np.bytes_]  # dtype S32: ids as 32 hex digits
Direction = Literal["higher", "lower", "unknown"]  # which end is better, where that is known


def execution(default: Any) -> Any:
    """Declare a config field that changes speed, never numbers, and so is not identity."""
    return field(default=default, metadata={"identity": False})


@dataclass(frozen=True)
class Resources:
    """What one worker takes of a machine. gpus: may be a fraction, then several share one."""

    cpus: float = 1.0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        """Refuse amounts that no machine has. Raises UsageError."""
        if self.cpus < 0 or self.gpus < 0 or (self.gpus > 1 and self.gpus % 1):
            raise UsageError(
                f"a worker cannot take {self.cpus:g} CPUs and {self.gpus:g} GPUs; give 0 or more, "
                "and whole GPUs above one"
            )


# ── indicators ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Column:
    """One number per example: its name, which end is better, and its unit."""

    name: str
    direction: Direction
    unit: str


@dataclass(frozen=True)
class Earlier:
    """What is stored of a smaller pool: where its rows are in this one, and their values.

    rows: (m,) positions in the batch, each once. values: column → (m,) float64.
    """

    rows: IntArray
    values: Mapping[str, FloatArray]


@dataclass(frozen=True)
class Batch:
    """What a scorer is given: n examples, or for pool scope all n rows of the pool.

    ids: (n,) S32. examples: n examples, or () where the indicator reads only inputs.
    inputs: name of an input indicator → its stored array, (n, d), aligned with ids.
    earlier: for a pool-scope indicator that `grows`, what is stored of a part of the pool.
    """

    ids: IdArray
    examples: Sequence[Example] = ()
    inputs: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    earlier: Earlier | None = None


@dataclass(frozen=True)
class Scored:
    """What a scorer gives back for a batch of n.

    values: column name → (n,) float64, or (n, d) float32 for a vector; NaN only with a reason.
    reasons: position → why a value is missing.
    truncated: positions whose text did not fit the model and was cut.
    kept: further columns to be stored, for a pool that grows out of this one.
    """

    values: Mapping[str, npt.NDArray[Any]]
    reasons: Mapping[int, str] = field(default_factory=dict)
    truncated: frozenset[int] = frozenset()
    kept: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """How to run, never what to compute: nothing here may change a number.

    device: "auto", "cpu", "cuda", "cuda:0", "mps". threads: None leaves the library's default.
    """

    device: str = "auto"
    threads: int | None = None


class Scorer(Protocol):
    """An opened indicator: it holds the model."""

    def score(self, batch: Batch) -> Scored:
        """Score a batch; the result for an example does not depend on its neighbours."""
        ...


class Identified:
    """A frozen dataclass whose fields say what its numbers depend on."""

    version: ClassVar[int]

    def identity(self) -> dict[str, Any]:
        """What the numbers depend on, as JSON-like values; the recipe is made of it.

        Every field not declared with `execution` enters; one that has an `identity` of its own
        (a model, another indicator) enters as that: a model's digest, never its path.
        """
        fields = {
            item.name: getattr(self, item.name)
            for item in dataclasses.fields(self)  # type: ignore[arg-type]
            if item.metadata.get("identity", True)
        }
        fields = {k: v.identity() if hasattr(v, "identity") else v for k, v in fields.items()}
        return {"type": type(self).__name__, "version": self.version, **fields}


@dataclass(frozen=True, kw_only=True)
class Indicator(Identified, ABC):
    """One measurement of examples: an inert description that can be opened into a scorer.

    A new indicator is one file in `indicators/` (its name is the indicator's name) that defines
    one subclass, or an entry point of the group `instructmine.indicators`. Bump `version` when
    numbers change. `inputs` names other indicators whose stored values this one reads; each has
    a field of the same name that holds its config. cpus, gpus: what one worker takes of a cluster;
    give `gpus` another default where a model is run.
    """

    cpus: float = execution(1.0)
    gpus: float = execution(0.0)

    scope: ClassVar[Literal["example", "pool"]] = "example"
    grows: ClassVar[bool] = False  # pool scope: values of a part of the pool spare work
    requires: ClassVar[tuple[str, ...]] = ()  # importable packages outside the core install
    inputs: ClassVar[tuple[str, ...]] = ()
    reads_text: ClassVar[bool] = True  # False: only inputs are read, examples may be ()
    vector: ClassVar[bool] = False  # True: the one column holds a vector per example

    @property
    @abstractmethod
    def columns(self) -> tuple[Column, ...]:
        """The columns this config gives, in order."""

    @abstractmethod
    def open(self, context: Context, columns: Sequence[str]) -> Scorer:
        """Load what is needed to compute `columns` (a subset of this indicator's)."""


# ── rules ───────────────────────────────────────────────────────────────────────────────────


class FittedRule(Protocol):
    """Predicts what an example does to the loss: quality = predicted log loss, lower is better."""

    name: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Indicator columns the rule reads."""
        ...

    def check(self, recipes: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Return one line per column whose recipe is not the one the rule was fitted on."""
        ...

    def predict(self, scores: ScoreTable) -> FloatArray:
        """Return (n,) quality, lower is better, NaN where a column it needs is missing."""
        ...

    def contributions(self, scores: ScoreTable) -> dict[str, FloatArray]:
        """Return each column's share of the prediction, (n,) each, intercept left out."""
        ...

    def explain(self) -> str:
        """Say in a few lines what the rule is, where it comes from and where it holds."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON-like values, readable again by `rules.load_rule`."""
        ...


# ── selectors ───────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Selector(ABC):
    """Orders candidates, best first. Every smaller budget is a prefix of the ranking."""

    needs: ClassVar[frozenset[Literal["embeddings", "targets"]]] = frozenset()
    columns: ClassVar[tuple[str, ...]] = ()  # score columns it reads
    uses_quality: ClassVar[bool] = True

    @abstractmethod
    def rank(self, candidates: Candidates, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank all candidates; ties are broken by id, so row order never matters.

        limit: how many places will be used at most. A greedy selector may stop there and put
        the rest behind in order of quality; the first `limit` places never depend on it.
        """


# ── training and evaluation ─────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Trainer(Identified, ABC):
    """One way of fine-tuning a base model on examples. Bump `version` when results change.

    cpus, gpus: what one training takes of a cluster.
    """

    base_model: ModelRef
    cpus: float = execution(1.0)
    gpus: float = execution(0.0)

    @abstractmethod
    def train(
        self, examples: Sequence[Example], *, seed: int, folder: Path, context: Context
    ) -> Checkpoint:
        """Fine-tune the base model and publish it as `folder`, or go on where it was stopped.

        The order of `examples` has no influence: it is drawn from the seed. A training that
        diverges gives a checkpoint with an error; what a user can mend is raised.
        """


@dataclass(frozen=True, kw_only=True)
class Evaluator(Identified, ABC):
    """One way of measuring a model on eval sets, per prompt, so that intervals can be computed."""

    @abstractmethod
    def evaluate(
        self, model: ModelRef, sets: Sequence[EvalSet], *, context: Context
    ) -> tuple[SetLoss, ...]:
        """Return the loss on every set, in order; lower is better."""


# ── answers and judges ──────────────────────────────────────────────────────────────────────


class Answering(Protocol):
    """An opened answerer: it holds the model, or the way to it."""

    def answer(self, histories: Sequence[tuple[Message, ...]]) -> Iterator[tuple[int, Answer]]:
        """Yield (index, answer) in any order; an answer does not depend on its neighbours."""
        ...


@dataclass(frozen=True, kw_only=True)
class Answerer(Identified, ABC):
    """One model that answers, with how it is sampled; answers are kept by this identity."""

    def estimate(self, history: Sequence[Message]) -> Usage:
        """Estimate what an answer takes of a server's requests and tokens: nothing by default."""
        return Usage()

    @abstractmethod
    def open(self, context: Context, meter: Meter) -> Answering:
        """Load the model, or check the way to it."""


class Judging(Protocol):
    """An opened judge: it holds the model, or the way to it."""

    def judge(self, questions: Sequence[Question]) -> Iterator[tuple[int, Verdict]]:
        """Yield (index, verdict) in any order; a question that the meter refuses gets none.

        A reply that cannot be read is asked for once more, then is a verdict with a problem,
        never a tie.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Judge(Identified, ABC):
    """Says which of two answers is better, in the order they are shown, or how good one is.

    A new judge is one file in `judges/`, or an entry point of the group `instructmine.judges`.
    Its identity holds all that a verdict depends on besides the question: the model and the
    digest of the prompt. order_free: it weighs each answer by itself. grades: it can grade.
    """

    order_free: ClassVar[bool] = False
    grades: ClassVar[bool] = True

    @abstractmethod
    def open(self, context: Context, meter: Meter) -> Judging:
        """Load what is needed. Raises InstructmineError where a judge cannot be had at all."""

    @abstractmethod
    def estimate(self, question: Question) -> Usage:
        """Estimate what one question takes, without loading anything."""


# ── size search ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SizeRange:
    """The sizes that may be proposed, both ends included, and the most seeds that one may get."""

    minimum: int
    maximum: int
    seeds: int = 1


class Search(Protocol):
    """A search going on: it proposes sizes and is told what they led to."""

    def ask(self) -> int | None:
        """Return the next size to measure.

        None while nothing can be proposed before an earlier proposal is told; None with nothing
        left to tell is the end. A size proposed again is to be measured with further seeds.
        """
        ...

    def tell(self, size: int, loss: float, cost: float) -> None:
        """Take the mean loss over all seeds of a size so far, lower is better, NaN: diverged.

        cost: examples that measuring it took, repeats counted. A size that was not asked for may
        be told as well; it is used or passed over.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Searcher(ABC):
    """One way of finding the size at which the loss is lowest.

    A search repeats its proposals for the same range, seed and told losses. requires: importable
    packages of the extra `search`. open_ended: it does not come to an end by itself for a long
    time, and whoever asks decides when to stop. seeds_per_ask: seeds measured for one proposal;
    None takes all that a size may get.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    open_ended: ClassVar[bool] = False
    seeds_per_ask: ClassVar[int | None] = None

    @abstractmethod
    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin a search."""


# ── engines ─────────────────────────────────────────────────────────────────────────────────


class Worker(ABC):
    """Picklable work: called once per job, perhaps in another process or on another machine.

    stateful: it keeps what it opened between calls, so few processes should do many jobs each;
    otherwise any job may go to any process.
    """

    stateful: ClassVar[bool] = False

    @property
    def resources(self) -> Resources:
        """What one process of it takes of a cluster."""
        return Resources()

    @abstractmethod
    def __call__(self, job: Any) -> Any:
        """Do one job and return a small result; large results go to the store.

        The same job may be done twice: where a process dies nobody knows how far it had come.
        """

    def halves(self, job: Any) -> Sequence[Any]:
        """Return a job in two, to find what ends the process that does it; () if it is one."""
        return ()

    @abstractmethod
    def give_up(self, job: Any, reason: str) -> Any:
        """Return the result of a job that ended every process that did it, and say so.

        Called in the process of the user. Raises InstructmineError where nothing can replace it.
        """


@dataclass(frozen=True)
class Engine(ABC):
    """Runs jobs somewhere: the only seam for distribution. Order never matters.

    workers: how many jobs run at the same time.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        """Refuse fewer workers than one. Raises UsageError."""
        if self.workers < 1:
            raise UsageError(f"--workers must be 1 or more, not {self.workers}")

    @abstractmethod
    def run(self, worker: Worker, jobs: Iterable[Any]) -> Iterator[Any]:
        """Yield one result per job, in any order; draw jobs lazily, so memory stays bounded.

        A job that had to be split gives a result per part. What a worker raises is raised here.
        """

    def threads_each(self) -> int | None:
        """Return the CPU threads of one worker; None leaves the library's default."""
        return None


Progress = Callable[[str, int, int], None]  # (what, done, total): total 0 while unknown
