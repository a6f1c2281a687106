"""`compare`: strategies against random on one base model, over seeds, sizes and eval sets.

score → one order per strategy and seed → equal budgets → trainings → differences to random.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine.comparison import RANDOM, contrasts
from instructmine.contracts import Progress
from instructmine.errors import EvidenceError, UsageError
from instructmine.files import publish
from instructmine.formats import open_pool, read_examples
from instructmine.results import Comparison, TrialPlan
from instructmine.stages._choices import Choice, Round, choices
from instructmine.stages._comparison_table import (
    Entry,
    comparison_table,
    prompts_table,
    shared_rows,
)
from instructmine.stages._evals import (
    describe_set,
    overlap_with_pool,
    read_eval_sets,
    refuse_fitted_on,
    refuse_overlap,
)
from instructmine.stages._exclude import Exclusions
from instructmine.stages._index import PoolIndex, index_pool
from instructmine.stages._measure import plan
from instructmine.stages._ranked import (
    TOKENS,
    ScoredPool,
    Strategy,
    check_recipes,
    embed,
    refuse_missing_target,
)
from instructmine.stages._run import Run, open_run, provenance
from instructmine.stages._strategies import entrants
from instructmine.stages._trainings import (
    base_model_ref,
    run_trainings,
    training_time,
    training_warnings,
)
from instructmine.stages._trial import TrialRunner
from instructmine.stages.score import (
    as_sources,
    check_table_name,
    describe,
    score_index,
    write_beside_table,
)


def compare(
    pool: str | Path | Sequence[str | Path],
    *,
    base_model: str,
    eval: str | Path | Sequence[str | Path],
    size: int | Sequence[int],
    random_size: Sequence[int] = (),
    out: str | Path | None = None,
    strategies: Sequence[str] = (),
    rule: str | None = None,
    target: str | Path | None = None,
    match: str = "rows",
    seeds: int = 3,
    trainer: str = "sft",
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    drop_overlap: bool = False,
    force: bool = False,
    seed: int = 0,
    workdir: str | Path | None = None,
    engine: str = "local",
    workers: int = 1,
    ray_address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Comparison | TrialPlan:
    """Hold ways of choosing against a random draw, with the same training for all.

    Args:
        pool: files, folders or hub dataset ids.
        base_model: causal LM to fine-tune: `starter`, a folder or a hub id.
        eval: files of prompts with references to measure on, or NAME=FILE; nothing that a rule
            was fitted on or a size searched by.
        size: rows to choose, one or several.
        random_size: further sizes at which random alone is trained: the data multiplier is read
            off its curve.
        out: Parquet file for the table; losses per prompt, a manifest and the rejected rows are
            written beside it.
        strategies: names (`instructmine list strategies`), selectors, `rule:RULE`, ranking files,
            or `all`; random is always among them.
        rule: preset, indicator column or rule file (default: the profile's).
        target: file of prompts with good answers, for the strategies that look at one.
        match: what is equal: "rows", "tokens" (of the average random draw of that many rows) or
            "steps" (optimiser steps, the full pool's too).
        seeds: trainings of each strategy and size, two or more; those that draw draw with each.
        trainer: one of `instructmine list trainers`.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `sft.epochs=1`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        drop_overlap: leave out pool rows that occur in an eval set instead of refusing.
        force: use a rule although its indicators' recipes differ from yours.
        seed: of the first draw and training; the others count up from it.
        workdir: where scores and trainings are kept (default: INSTRUCTMINE_WORKDIR or your cache
            folder).
        engine: where jobs run.
        workers: trainings that run at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads of one training; None divides the cores among local workers.
        progress: called with (what, done, total).
        dry_run: train nothing; return a TrialPlan with measured estimates.

    Returns:
        The comparison with its manifest, or a TrialPlan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    check_table_name(out)
    sizes = (size,) if isinstance(size, int) else tuple(sorted(dict.fromkeys(size)))
    how = Round(sizes, match, tuple(range(seed, seed + seeds)), tuple(random_size))
    run = open_run(
        profile=profile, settings=set, target=target, workdir=workdir, engine=engine,
        workers=workers, device=device, ray_address=ray_address, threads=threads,
        progress=progress,
    )  # fmt: skip
    sets = read_eval_sets([eval] if isinstance(eval, (str, Path)) else eval, "--eval")
    taking_part = entrants(run, strategies, rule=rule, target=target)
    ranked = [one for one in taking_part.values() if isinstance(one, Strategy)]
    refuse_missing_target(ranked, target)
    for one in ranked:
        refuse_fitted_on(one.rule, sets)
    if target is not None:
        refuse_overlap(read_examples(target, "target"), sets, f"target {target}")
    runner = TrialRunner(
        trainer=run.profile.trainer(trainer, base_model_ref(base_model)),
        evaluator=run.profile.evaluator("loss"),
        sets=tuple(sets),
        root=run.workdir / "trials",
        context=run.context,
    )
    runner.trainer.identity()  # a base model that cannot serve is an error before any scoring
    index = index_pool(open_pool(as_sources(pool), mapping=map), progress)
    exclusions = Exclusions(index)
    exclusions.overlapping(overlap_with_pool(index, sets, drop=drop_overlap))
    columns = [column for one in ranked for column in one.columns]
    measurements = plan(run, index, dict.fromkeys((*TOKENS, *columns)))
    warnings = [
        line for one in ranked for line in check_recipes(one.rule, measurements, force=force)
    ]
    scores, tallies = score_index(run, index, measurements, allow_unscorable=False)
    # one set of candidates for all: a row that some strategy cannot rank is nobody's
    exclusions.unscorable(np.isnan(scores.matrix(dict.fromkeys(columns))).any(axis=1), scores)
    exclusions.duplicates("exact", None)
    embedded, targets = embed(run, index, ranked, target)
    if embedded:
        measurements = [*measurements, embedded.measurement]
        tallies[embedded.measurement.name] = embedded.tally
    read = runner.trainer.identity().get("max_length")
    scored = ScoredPool(index, scores, exclusions.free(), embedded, targets, read)
    chosen = list(choices(run, scored, taking_part, measurements, how))
    groups = {one.size: [other for other in chosen if other.size == one.size] for one in chosen}
    runners = {one: _matched(run, runner, trainer, one, match) for one in groups}
    if dry_run:
        return _plan(run, index, runners, groups)
    entries: list[Entry] = []
    for one, own in groups.items():
        entries += _train(run, runners[one], index, own)
    warnings += [*exclusions.warnings, *_remarks(chosen), *_failures(entries)]
    warnings += training_warnings([found for one in entries for _, found in one.runs])
    entries = [one.finished() for one in entries]
    _need_random(entries)
    found = contrasts([one.arm(sets) for one in entries if one.runs], _whole(scored, match))
    manifest = {
        **provenance("compare", arguments),
        **describe(run, index, measurements, tallies),
        "comparison": {
            "base_model": str(runner.trainer.base_model),
            "trainer": runner.trainer.identity(),
            "evaluator": runner.evaluator.identity(),
            "eval": [describe_set(one) for one in sets],
            "match": match,
            "seeds": list(how.seeds),
            "candidates": len(scored.free),
            "shared_rows": shared_rows(entries),
        },
        "excluded": exclusions.counts(),
        "warnings": list(dict.fromkeys(warnings)),
        "seconds": round(time.perf_counter() - started, 3),
    }
    result = Comparison(comparison_table(scored, entries, found), tuple(found), manifest)
    if out is None:
        return result
    return replace(result, files=_write(Path(out), index, result, prompts_table(entries, sets)))


def _matched(
    run: Run, runner: TrialRunner, trainer: str, size: int | None, match: str
) -> TrialRunner:
    """Return the runner for a size: with `steps`, its trainer takes as many for any rows."""
    if match != "steps" or size is None:
        return runner
    fields = runner.trainer.identity()
    if not {"epochs", "batch_size"} <= fields.keys():
        raise UsageError(
            f"--match steps sets {trainer}.steps from its epochs and batch_size, which it does "
            "not have (or has steps set already); match by rows or tokens"
        )
    steps = max(1, math.ceil(size / fields["batch_size"]) * fields["epochs"])
    profile = run.profile.override([f"{trainer}.steps={round(steps)}"])
    return replace(runner, trainer=profile.trainer(trainer, runner.trainer.base_model))


def _train(
    run: Run, runner: TrialRunner, index: PoolIndex, chosen: Sequence[Choice]
) -> list[Entry]:
    """Run what is missing of one size's trainings."""
    size = chosen[0].size
    wanted = [training for one in chosen for training in one.trainings]
    what = "trainings" if size is None else f"trainings on {size:,}"
    results = iter(run_trainings(run, runner, index, wanted, what))
    return [Entry(one, tuple((t, next(results)) for t in one.trainings)) for one in chosen]


def _plan(
    run: Run,
    index: PoolIndex,
    runners: Mapping[int | None, TrialRunner],
    groups: Mapping[int | None, Sequence[Choice]],
) -> TrialPlan:
    """Add up the time that all sizes take."""
    parts = []
    for size, chosen in groups.items():
        wanted = [t for one in chosen for t in one.trainings if len(t.positions)]
        if wanted:
            parts.append((len(wanted), training_time(run, runners[size], index, wanted)))
    count = sum(number for number, _ in parts)
    return TrialPlan(
        rows=len(index),
        trials=count,
        finished=sum(one.finished for _, one in parts),
        seconds_each=round(sum(n * one.seconds_each for n, one in parts) / max(count, 1), 1),
        seconds=round(sum(one.seconds for _, one in parts), 1),
        measured=parts[0][1].measured if parts else "nothing",
    )


def _remarks(chosen: Sequence[Choice]) -> list[str]:
    """Say what must be known of the choices: also which are one set under two names."""
    lines = [f"{one.strategy} at {one.size:,}: {line}" for one in chosen for line in one.remarks]
    names: dict[tuple[int, tuple[bytes, ...]], list[str]] = {}
    for one in chosen:
        if one.size is not None:
            rows = tuple(np.sort(training.positions).tobytes() for training in one.trainings)
            names.setdefault((one.size, rows), []).append(one.strategy)
    return lines + [
        f"{' and '.join(same)} at {size:,}: the same rows, so one finding and not {len(same)}"
        for (size, _), same in names.items()
        if len(same) > 1
    ]


def _failures(entries: Sequence[Entry]) -> list[str]:
    """Say which trainings gave no loss; the others of their strategy count."""
    return [
        f"{one.choice.strategy} at {one.choice.size or 'any size'}, seed {training.seed}: "
        f"{found.error}; left out"
        for one in entries
        for training, found in one.runs
        if found.error
    ]


def _need_random(entries: Sequence[Entry]) -> None:
    """Raise EvidenceError where too few trainings on random rows are left to compare with."""
    for one in entries:
        if one.choice.strategy == RANDOM and len(one.runs) < 2:
            raise EvidenceError(
                f"only {len(one.runs)} trainings on {one.choice.size:,} random rows gave a loss: "
                "there is nothing to compare with; lower sft.learning_rate or look at the pool"
            )


def _whole(scored: ScoredPool, match: str) -> int | None:
    """Return what training on the full pool spends, in the unit of the budgets."""
    if match == "steps":
        return None
    if match == "rows":
        return len(scored.free)
    return round(float(scored.tokens[scored.free].sum()))


def _write(out: Path, index: PoolIndex, result: Comparison, prompts: pa.Table) -> dict[str, Path]:
    """Write the table, the losses per prompt, the manifest and the rejected rows."""
    files = {"prompts": out.with_name(f"{out.stem}.prompts.parquet")}
    with publish(files["prompts"]) as temporary:
        pq.write_table(prompts, temporary, compression="zstd")
    files |= write_beside_table(out, index, {**result.manifest})
    with publish(out) as temporary:
        pq.write_table(result.table, temporary, compression="zstd")
    return {"comparison": out, **files}
