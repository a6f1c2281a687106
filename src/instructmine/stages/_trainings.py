"""Trainings on rows of a pool: those that are missing are run, the others are found."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instructmine.errors import EvidenceError
from instructmine.modelref import ModelRef
from instructmine.pool import Example
from instructmine.stages._index import PoolIndex
from instructmine.stages._run import Run
from instructmine.stages._trial import TrialJob, TrialResult, TrialRunner

CALIBRATION = 64  # examples trained on to estimate time where nothing was trained before


@dataclass(frozen=True)
class Training:
    """Rows of a pool, by position, and the seed to train on them with; none is the base model."""

    positions: npt.NDArray[np.int64]
    seed: int


@dataclass(frozen=True)
class TrainingTime:
    """How long trainings take. measured: "past trials" of them, or "a short training"."""

    finished: int
    seconds_each: float
    seconds: float
    measured: str


def base_model_ref(name: str) -> ModelRef:
    """Return the base model of a name; `starter` is the shipped language model."""
    return ModelRef("starter:lm" if name == "starter" else name)


def run_trainings(
    run: Run,
    runner: TrialRunner,
    index: PoolIndex,
    wanted: Sequence[Training],
    what: str = "trials",
) -> list[TrialResult]:
    """Return the result of every training, in order, running only those that are missing.

    The largest are run first, so that no worker is long alone at the end.

    Raises EvidenceError where every one of them failed.
    """
    keys = keys_of(runner, index, wanted)
    results = {key: found for key in keys if (found := runner.find(key)) is not None}
    missing = {key: one for key, one in zip(keys, wanted, strict=True) if key not in results}
    done = len(keys) - len(missing)
    run.report(what, done, len(keys))
    examples = _fetch(index, list(missing.values()))
    jobs = (
        TrialJob(key, one.seed, tuple(examples[p] for p in one.positions.tolist()))
        for key, one in sorted(missing.items(), key=lambda kept: -len(kept[1].positions))
    )
    for found in run.engine.run(runner, jobs) if missing else ():
        results[found.key] = found
        done += 1
        run.report(what, done, len(keys))
    if results and all(one.error for one in results.values()):
        first = next(iter(results.values()))
        raise EvidenceError(
            f"every trial failed ({first.error}); lower sft.learning_rate, give it more memory, or "
            "look at the pool"
        )
    return [results[key] for key in keys]


def keys_of(runner: TrialRunner, index: PoolIndex, wanted: Sequence[Training]) -> list[str]:
    """Return the key of every training."""
    return [runner.key(index.ids[one.positions].tolist(), one.seed) for one in wanted]


def training_time(
    run: Run, runner: TrialRunner, index: PoolIndex, wanted: Sequence[Training]
) -> TrainingTime:
    """Estimate the time of what is missing, from past trials of these or a short training.

    seconds_each is of the median; seconds sums over what is missing by its number of rows.
    """
    found = [runner.find(key) for key in keys_of(runner, index, wanted)]
    past = [
        (float(done.facts["seconds"]), len(one.positions))
        for one, done in zip(wanted, found, strict=True)
        if done is not None and "seconds" in done.facts and len(one.positions)
    ]
    missing = [len(one.positions) for one, done in zip(wanted, found, strict=True) if done is None]
    if past:
        measured, per_row = "past trials", float(np.median([s / n for s, n in past]))
    else:
        measured, per_row = "a short training", _calibrate(runner, index, wanted[0])
    sizes = [len(one.positions) for one in wanted]
    return TrainingTime(
        finished=len(wanted) - len(missing),
        seconds_each=round(float(np.median(sizes)) * per_row, 1),
        seconds=round(max(sum(missing) / run.engine.workers, max(missing, default=0)) * per_row, 1),
        measured=measured,
    )


def training_warnings(results: Sequence[TrialResult]) -> list[str]:
    """Say what training cut or left out: nothing is dropped in silence."""
    cut = sum(int(one.facts.get("truncated", 0)) for one in results)
    left = Counter[str]()
    for one in results:
        left.update(one.facts.get("left_out", {}))
    lines = [f"{cut:,} texts of all trials were longer than the model reads and were cut"] * (
        cut > 0
    )
    return lines + [
        f"{n:,} texts of all trials were not trained on: {why}" for why, n in left.items()
    ]


def _fetch(index: PoolIndex, trainings: Sequence[Training]) -> dict[int, Example]:
    """Read the rows of all trainings in one pass over the pool."""
    wanted = np.zeros(len(index), dtype=bool)
    for one in trainings:
        wanted[one.positions] = True
    return dict(index.examples(wanted)) if wanted.any() else {}


def _calibrate(runner: TrialRunner, index: PoolIndex, training: Training) -> float:
    """Train on a few rows and return the seconds that all of them would take, by row."""
    size = len(training.positions)
    some = Training(training.positions[:: max(1, size // CALIBRATION)], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        made = runner.trainer.train(
            tuple(_fetch(index, [some]).values()),
            seed=0, folder=Path(folder) / "model", context=runner.context,
        )  # fmt: skip
        fixed = time.perf_counter() - started - made.facts["seconds"]
        started = time.perf_counter()
        if made.error is None:
            runner.evaluator.evaluate(made.model, runner.sets, context=runner.context)
        fixed += time.perf_counter() - started
    seconds = made.facts["seconds"]
    if "steps" not in runner.trainer.identity():  # a number of steps costs the same for any size
        seconds *= size / len(some.positions)
    return float(fixed + seconds) / size
