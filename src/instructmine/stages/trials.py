"""`trials`: fine-tunes many subsets of a pool and measures the loss that each leaves.

score → usable rows → subsets by a design → one resumable job each → the table that `fit` reads.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instructmine import designs, plugins
from instructmine.contracts import Progress
from instructmine.designs import Subset
from instructmine.errors import UsageError
from instructmine.formats import open_pool, read_examples
from instructmine.results import TrialPlan, TrialRun
from instructmine.scores import ScoreTable
from instructmine.stages._evals import (
    describe_set,
    overlap_with_pool,
    read_eval_set,
    read_eval_sets,
    refuse_overlap,
    refuse_shared,
)
from instructmine.stages._exclude import Exclusions
from instructmine.stages._index import PoolIndex, index_pool
from instructmine.stages._means import SubsetMeans
from instructmine.stages._measure import plan
from instructmine.stages._run import open_run, provenance
from instructmine.stages._trainings import (
    Training,
    base_model_ref,
    run_trainings,
    training_time,
    training_warnings,
)
from instructmine.stages._trial import TrialRunner
from instructmine.stages._trial_table import Planned, trials_table
from instructmine.stages.score import (
    as_sources,
    check_table_name,
    describe,
    score_index,
    write_beside_table,
)
from instructmine.trial_table import Trials

NOISE_SEEDS = 3  # further seeds of a subset that is repeated to measure noise


def trials(
    pool: str | Path | Sequence[str | Path],
    *,
    base_model: str,
    eval: str | Path,
    out: str | Path | None = None,
    report_eval: Sequence[str | Path] = (),
    count: int = 129,
    size: int = 1000,
    design: str = "mixture",
    noise: int = 0,
    trainer: str = "sft",
    indicators: Sequence[str] = ("all",),
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    target: str | Path | None = None,
    drop_overlap: bool = False,
    keep_checkpoints: bool = False,
    seed: int = 0,
    workdir: str | Path | None = None,
    engine: str = "local",
    workers: int = 1,
    ray_address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> TrialRun | TrialPlan:
    """Fine-tune many subsets of a pool and measure the loss that each leaves.

    Args:
        pool: files, folders or hub dataset ids; each file is a named source.
        base_model: causal LM to fine-tune: `starter`, a folder or a hub id.
        eval: file of prompts with references that the rule is fitted on, or NAME=FILE.
        out: Parquet file for the table; a manifest and the rejected rows are written beside it.
        report_eval: further sets, measured and never fitted on.
        count: number of subsets.
        size: examples in each.
        design: "mixture" (random proportions of the sources) or "stratified" (low, middle and
            high rows of each indicator).
        noise: so many subsets are trained with three further seeds, to measure seed noise.
        trainer: one of `instructmine list trainers`.
        indicators: names of indicators or columns, or `all` of the profile's.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `sft.epochs=1`, `reward.model=PATH`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        target: file of prompts with good answers, for `target_similarity`.
        drop_overlap: leave out pool rows that occur in an eval set instead of refusing.
        keep_checkpoints: keep the fine-tuned models in the work folder.
        seed: of the design and of training; trial t is trained with seed + t.
        workdir: where scores and trials are kept (default: INSTRUCTMINE_WORKDIR or your cache
            folder).
        engine: where jobs run.
        workers: trials that run at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads of one trial; None divides the cores among local workers.
        progress: called with (what, done, total).
        dry_run: train nothing of the design; return a TrialPlan with measured estimates.

    Returns:
        The table of trials with its manifest, or a TrialPlan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    check_table_name(out)
    if design not in designs.DESIGNS:
        raise UsageError(plugins.unknown("design", design, designs.DESIGNS))
    if count < 1 or noise < 0:
        raise UsageError("--count must be 1 or more, --noise 0 or more")
    run = open_run(
        profile=profile, settings=set, target=target, workdir=workdir, engine=engine,
        workers=workers, device=device, ray_address=ray_address, threads=threads,
        progress=progress,
    )  # fmt: skip
    fit_set, *others = sets = [read_eval_set(eval), *read_eval_sets(report_eval)]
    refuse_shared(fit_set, others, "what a rule is fitted on cannot report how good it is")
    if target is not None:
        refuse_overlap(read_examples(target, "target"), sets, f"target {target}")
    runner = TrialRunner(
        trainer=run.profile.trainer(trainer, base_model_ref(base_model)),
        evaluator=run.profile.evaluator("loss"),
        sets=tuple(sets),
        root=run.workdir / "trials",
        context=run.context,
        keep=keep_checkpoints,
    )
    runner.trainer.identity()  # a base model that cannot serve is an error before any scoring
    index = index_pool(open_pool(as_sources(pool), mapping=map), progress)
    exclusions = Exclusions(index)
    exclusions.overlapping(overlap_with_pool(index, sets, drop=drop_overlap))
    wanted = (*indicators, "target_similarity") if target is not None else tuple(indicators)
    measurements = plan(run, index, dict.fromkeys(wanted))
    single = [one for one in measurements if one.indicator.scope == "example"]
    scores, tallies = score_index(run, index, single, allow_unscorable=True)
    means = SubsetMeans(run, index, scores, measurements)
    exclusions.unscorable(means.missing, scores)
    exclusions.duplicates("exact", None)
    subsets = _subsets(index, scores, exclusions.free(), design, count, size, seed)
    planned = _planned(subsets, seed, noise)
    wanted = [Training(one.subset.positions, one.seed) for one in planned]
    if dry_run:
        time_ = training_time(run, runner, index, wanted)
        return TrialPlan(rows=len(index), trials=len(planned), **dataclasses.asdict(time_))
    results = run_trainings(run, runner, index, wanted)
    table = Trials(
        trials_table(index, planned, results, design=design, sets=sets, means=means),
        recipes={c: one.indicator.identity() for one in measurements for c in one.columns},
        about={
            "base_model": str(runner.trainer.base_model),
            "trainer": runner.trainer.identity(),
            "evaluator": runner.evaluator.identity(),
            "eval": describe_set(fit_set),
            "report_eval": [describe_set(one) for one in others],
            "pool": index.digest,
            "design": design,
            "size": size,
            "seed": seed,
        },
    )
    manifest = {
        **provenance("trials", arguments),
        **describe(run, index, single, tallies),
        "trials": table.about,
        "excluded": exclusions.counts(),
        "warnings": [*exclusions.warnings, *training_warnings(results)],
        "seconds": round(time.perf_counter() - started, 3),
    }
    files: dict[str, Path] = {}
    if out is not None:
        files = write_beside_table(Path(out), index, manifest)
        table.write(out)
        files = {"trials": Path(out), **files}
    return TrialRun(table, manifest, files)


def _subsets(
    index: PoolIndex,
    scores: ScoreTable,
    usable: npt.NDArray[np.int64],
    design: str,
    count: int,
    size: int,
    seed: int,
) -> list[Subset]:
    """Draw the subsets, in positions of the pool; row order must not decide, so ids do."""
    usable = usable[np.argsort(index.ids[usable], kind="stable")]
    if design == "mixture":
        found = designs.mixture(
            index.source[usable], index.sources, count=count, size=size, seed=seed
        )
    else:
        values = {name: scores.column(name)[usable] for name in scores.indicators}
        found = designs.stratified(values, count=count, size=size, seed=seed)
    return [replace(one, positions=np.sort(usable[one.positions])) for one in found]


def _planned(subsets: Sequence[Subset], seed: int, noise: int) -> list[Planned]:
    """Return the rows of the table to be: every subset once, the first ones with more seeds."""
    count = len(subsets)
    planned = [Planned(number, seed + number, one) for number, one in enumerate(subsets)]
    for number, one in enumerate(subsets[:noise]):
        for again in range(1, NOISE_SEEDS + 1):
            planned.append(Planned(len(planned), seed + number + again * count, one))
    return planned
