"""Computes what a pool's scores lack, and gathers them from the store.

A job is a chunk of examples that lack a score; a worker scores it and publishes it under the
indicator's recipe. Whatever was published stays, so running again after any end goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from instructmine.contracts import Batch, Context, Indicator, Resources, Scorer, Worker
from instructmine.errors import InstructmineError
from instructmine.ids import id_column
from instructmine.pool import Example
from instructmine.recipes import Recipe
from instructmine.scores import ScoreTable
from instructmine.stages._columns import repeated, sparse
from instructmine.stages._earlier import earlier_scores
from instructmine.stages._index import PoolIndex
from instructmine.stages._run import Run
from instructmine.store import Store

# A part is lost with a crash, so chunks are small; a part costs a file, so they grow with the pool.
# Not with what is missing: a run that goes on then cuts the chunks that it would have cut, and its
# scores are those of a run that was never stopped, to the last bit.
SMALLEST_CHUNK, LARGEST_CHUNK, CHUNKS = 256, 8192, 48

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """One indicator to be measured on one pool: its config, wanted columns and recipe."""

    name: str
    indicator: Indicator
    columns: tuple[str, ...]
    recipe: Recipe
    inputs: tuple[Measurement, ...] = ()


@dataclass
class Tally:
    """What measuring one indicator did: rows scored now, found in the store, cut, seconds.

    died: rows among the computed ones that ended every process which scored them. facts: what
    is known of the values as a whole, the recall of an approximate search.
    """

    computed: int = 0
    stored: int = 0
    truncated: int = 0
    unscorable: int = 0
    died: int = 0
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


def plan(run: Run, index: PoolIndex, names: Iterable[str]) -> list[Measurement]:
    """Return the measurements for indicator or column names, each with those it reads."""
    resolved = run.profile.resolve(names)
    return [_measurement(run, index, name, columns) for name, columns in resolved.items()]


def _measurement(run: Run, index: PoolIndex, name: str, columns: tuple[str, ...]) -> Measurement:
    indicator = run.profile.indicator(name)
    pool = _searched(index, indicator) if indicator.scope == "pool" else None
    inputs = []
    for other in indicator.inputs:
        names = tuple(column.name for column in run.profile.indicator(other).columns)
        inputs.append(_measurement(run, index, other, names))
    recipe = Recipe.of(name, indicator.identity(), pool=pool)
    return Measurement(name, indicator, columns, recipe, tuple(inputs))


@runtime_checkable
class SearchesPool(Protocol):
    """An indicator that compares the rows of a large pool in another way than those of a small."""

    def search_of(self, rows: int) -> Mapping[str, Any]:
        """Return what belongs into the recipe for a pool of so many rows; {} for the exact way."""
        ...


def _searched(index: PoolIndex, indicator: Indicator) -> str | dict[str, Any]:
    how = indicator.search_of(len(index)) if isinstance(indicator, SearchesPool) else {}
    return {"digest": index.digest, **how} if how else index.digest


def missing(run: Run, index: PoolIndex, measurement: Measurement) -> np.ndarray:
    """Return (n,) bool: the rows to score, one per distinct example that lacks a column."""
    absent = run.store.missing(measurement.recipe, measurement.columns, index.ids)
    if not absent.any():
        return absent
    if measurement.indicator.scope == "pool":
        return np.ones(len(index), dtype=bool)  # the whole pool is one unit
    return absent & index.first_occurrence()


def measure(run: Run, index: PoolIndex, measurement: Measurement) -> Tally:
    """Score every row that lacks a score; what it reads is measured first, if it is needed."""
    wanted = missing(run, index, measurement)
    total = int(wanted.sum())
    tally = Tally(stored=len(index) - total if total < len(index) else 0)
    if total:
        for other in measurement.inputs:
            measure(run, index, other)
        started = time.perf_counter()
        worker = ScoreWorker(
            indicator=measurement.indicator,
            columns=measurement.columns,
            recipe=measurement.recipe,
            inputs=tuple(
                (other.name, other.columns[0], other.recipe) for other in measurement.inputs
            ),
            context=run.context,
            store=run.store,
        )
        what = f"scoring {measurement.name}"
        run.report(what, 0, total)
        for done in run.engine.run(worker, _jobs(index, measurement.indicator, wanted)):
            tally.computed += done.rows
            tally.died += done.died
            run.report(what, tally.computed, total)
        tally.seconds = time.perf_counter() - started
    return tally


def _jobs(index: PoolIndex, indicator: Indicator, wanted: np.ndarray) -> Iterator[Batch]:
    if indicator.scope == "pool":
        yield Batch(ids=index.ids)
        return
    size = int(np.clip(len(index) // CHUNKS, SMALLEST_CHUNK, LARGEST_CHUNK))
    if not indicator.reads_text:
        positions = np.flatnonzero(wanted)
        for start in range(0, len(positions), size):
            yield Batch(ids=index.ids[positions[start : start + size]])
        return
    chunk: list[Example] = []
    for _, example in index.examples(wanted):
        chunk.append(example)
        if len(chunk) == size:
            yield _batch(chunk)
            chunk = []
    if chunk:
        yield _batch(chunk)


def _batch(examples: list[Example]) -> Batch:
    return Batch(ids=np.array([e.id for e in examples], dtype="S32"), examples=tuple(examples))


@dataclass(frozen=True)
class Done:
    """What became of a batch: rows published, and those among them that were given up."""

    rows: int
    died: int = 0


@dataclass
class ScoreWorker(Worker):
    """Scores batches and publishes them; opens its model at the first batch."""

    stateful = True

    indicator: Indicator
    columns: tuple[str, ...]
    recipe: Recipe
    inputs: tuple[tuple[str, str, Recipe], ...]
    context: Context
    store: Store
    _scorer: Scorer | None = field(default=None, repr=False)

    @property
    def resources(self) -> Resources:
        """What the indicator asks for; no GPU where scoring is to be on the CPU."""
        gpus = 0.0 if self.context.device == "cpu" else self.indicator.gpus
        return Resources(self.indicator.cpus, gpus)

    def __call__(self, batch: Batch) -> Done:
        """Score one batch and publish it."""
        if self._scorer is None:
            self._scorer = self.indicator.open(self.context, self.columns)
        started = time.perf_counter()
        inputs = {
            name: self.store.read(recipe, [column], batch.ids).values[column]
            for name, column, recipe in self.inputs
        }
        grows = self.indicator.grows
        earlier = earlier_scores(self.store, self.recipe, batch.ids) if grows else None
        scored = self._scorer.score(Batch(batch.ids, batch.examples, inputs, earlier))
        self.store.publish(
            self.recipe,
            batch.ids,
            {**scored.values, **scored.kept},
            scored.reasons,
            scored.truncated,
            seconds=time.perf_counter() - started,
            facts=getattr(self._scorer, "facts", None),  # only some have anything to tell
        )
        return Done(len(batch.ids))

    def halves(self, batch: Batch) -> tuple[Batch, ...]:
        """Return a batch in two; that of a pool-scope indicator is one."""
        middle = len(batch.ids) // 2
        if not middle or self.indicator.scope == "pool":
            return ()
        return tuple(
            Batch(batch.ids[part], batch.examples[part])
            for part in (slice(middle), slice(middle, None))
        )

    def give_up(self, batch: Batch, reason: str) -> Done:
        """Publish an example as missing, with the reason.

        Raises InstructmineError for a pool-scope indicator, which has no value for any row then.
        """
        what = self.recipe.indicator
        if self.indicator.scope == "pool":
            raise InstructmineError(
                f"{what} of {len(batch.ids):,} rows cannot be computed: {reason}, most likely for "
                "lack of memory; run again with more of it"
            )
        values = {name: np.full(1, np.nan) for name in self.columns}
        if self.indicator.vector:  # as wide as the others', or it could not be read with them
            (name,) = self.columns
            values = self.store.read(self.recipe, [name], batch.ids).values
            if values[name].ndim == 1:
                raise InstructmineError(
                    f"{what} of example {batch.ids[0].decode()} cannot be computed: {reason}; "
                    "leave it out of the pool, or run again with more memory"
                )
        self.store.publish(self.recipe, batch.ids, values, {0: reason})
        example = batch.ids[0].decode()[:12]
        log.warning("warning: example %s has no %s: %s", example, what, reason)
        return Done(1, died=1)

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the opened model."""
        return {**self.__dict__, "_scorer": None}


def gather(
    run: Run, index: PoolIndex, measurements: Sequence[Measurement], tallies: dict[str, Tally]
) -> ScoreTable:
    """Return the score table of a pool from the store, and count what is cut or missing."""
    columns: dict[str, Any] = {
        "source": repeated(index.sources, index.source),
        "row": pa.array(index.row),
        "id": id_column(index.ids),
    }
    errors: dict[int, list[str]] = {}
    for measurement in measurements:
        if measurement.indicator.vector:
            continue
        stored = run.store.read(measurement.recipe, measurement.columns, index.ids)
        tally = tallies[measurement.name]
        tally.truncated = int(stored.truncated.sum())
        tally.facts = stored.facts
        unscored = np.zeros(len(index), dtype=bool)
        for name in measurement.columns:
            values = stored.values[name]
            columns[name] = pa.array(values, mask=np.isnan(values))
            unscored |= np.isnan(values)
        tally.unscorable = int(unscored.sum())
        for position, reason in stored.reasons.items():
            if unscored[position]:  # the reason may be for a column that was not asked for
                errors.setdefault(position, []).append(f"{measurement.name}: {reason}")
    texts = {position: "; ".join(parts) for position, parts in errors.items()}
    return ScoreTable(pa.table({**columns, "errors": sparse(len(index), texts)}))


def approximations(tallies: Mapping[str, Tally]) -> list[str]:
    """Say which indicators were searched approximately, and how well."""
    return [
        f"{name}: searched in {told['search']}, recall {told['recall']:.3f} on "
        f"{told['sampled']:,} rows"
        for name, tally in tallies.items()
        if (told := tally.facts) and "recall" in told
    ]


@dataclass(frozen=True)
class Vectors:
    """Embeddings of a pool's rows, (n, d) float32, and what measuring them did."""

    values: np.ndarray
    measurement: Measurement
    tally: Tally


def vectors(run: Run, index: PoolIndex) -> Vectors:
    """Embed a pool's rows, computing what is missing."""
    (measurement,) = plan(run, index, ["embedding"])
    tally = measure(run, index, measurement)
    stored = run.store.read(measurement.recipe, measurement.columns, index.ids)
    values = np.asarray(stored.values[measurement.columns[0]])
    tally.truncated = int(stored.truncated.sum())
    tally.unscorable = int(np.isnan(values).any(axis=1).sum())
    return Vectors(values, measurement, tally)
