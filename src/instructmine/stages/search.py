"""`search`: how many examples of the ranked pool to train on.

score → rank → a searcher proposes sizes → fine-tune on each prefix → loss → the size to take.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from instructmine import plugins
from instructmine.contracts import Progress, Searcher, SizeRange
from instructmine.errors import EvidenceError, UsageError
from instructmine.evals import EvalSet
from instructmine.files import write_text
from instructmine.formats import open_pool, read_examples
from instructmine.results import SizeSearch, TrialPlan
from instructmine.searching import Exploration, Limits, Outcome, explore
from instructmine.stages._evals import (
    describe_set,
    overlap_with_pool,
    read_eval_set,
    read_eval_sets,
    refuse_fitted_on,
    refuse_overlap,
    refuse_shared,
)
from instructmine.stages._exclude import Exclusions
from instructmine.stages._index import PoolIndex, index_pool
from instructmine.stages._measure import plan
from instructmine.stages._prefixes import Prefixes, PrefixRunner, prefixes
from instructmine.stages._ranked import (
    TOKENS,
    ScoredPool,
    Strategy,
    check_recipes,
    embed,
    refuse_missing_target,
    strategy,
)
from instructmine.stages._run import open_run, provenance
from instructmine.stages._size_limits import (
    check_call,
    check_tokens,
    fixed_steps,
    limits_of,
    searcher_of,
    size_range,
)
from instructmine.stages._size_plot import can_plot, plot
from instructmine.stages._size_rankings import (
    further_rankings,
    is_drawn,
    ranking_name,
    usable_by,
)
from instructmine.stages._size_summary import (
    REPLAY_NOTE,
    against_random,
    choice_facts,
    curve_rows,
    replays,
    search_facts,
    shape_facts,
)
from instructmine.stages._trainings import (
    base_model_ref,
    training_time,
    training_warnings,
)
from instructmine.stages._trial import TrialRunner
from instructmine.stages._trial_table import trials_table
from instructmine.stages.score import (
    as_sources,
    describe,
    refuse_unscorable,
    score_index,
    write_beside_table,
)
from instructmine.trial_table import Trials

FEW_PROMPTS = 30


def search(
    pool: str | Path | Sequence[str | Path],
    *,
    base_model: str,
    eval: str | Path,
    out: str | Path | None = None,
    report_eval: Sequence[str | Path] = (),
    minimum: int | None = None,
    maximum: int | None = None,
    searcher: str = "blend",
    seeds: int = 3,
    match: str = "epochs",
    steps: int | None = None,
    max_trials: int | None = None,
    max_minutes: float | None = None,
    max_tokens: int | None = None,
    patience: int = 3,
    compare: Sequence[str] = (),
    rule: str | None = None,
    selector: str = "top",
    within: float | None = None,
    stratify: str | None = None,
    target: str | Path | None = None,
    trainer: str = "sft",
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    drop_overlap: bool = False,
    allow_unscorable: bool = False,
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
) -> SizeSearch | TrialPlan:
    """Find how many examples of the ranked pool to train on.

    Args:
        pool: files, folders or hub dataset ids.
        base_model: causal LM to fine-tune: `starter`, a folder or a hub id.
        eval: file of prompts with references to search by, or NAME=FILE; none of them may be
            among those that the rule was fitted on.
        out: JSON file for the result; the trainings, a plot, a manifest and the rejected rows are
            written beside it.
        report_eval: further sets, measured and never searched by.
        minimum: smallest size (default: 512, or less in a small pool).
        maximum: largest size (default: 10,000, or the whole of a smaller pool).
        searcher: one of `instructmine list searchers`.
        seeds: trainings of one size; the mean over them is what the searcher is told.
        match: what is equal for all sizes: "epochs" or optimiser "steps".
        steps: optimiser steps with `match="steps"` (default: one pass over the largest size).
        max_trials: most trainings.
        max_minutes: of training time, that of stored trainings counted.
        max_tokens: trained on, repeats counted.
        patience: so many sizes in a row without improvement beyond noise end a search that has
            no end of its own; 0 never does.
        compare: further rankings to measure at the sizes found: names of `instructmine list
            strategies`, selectors, `rule:RULE`, or ranking files.
        rule: preset, indicator column or rule file (default: the profile's).
        selector: how to order.
        within: let the selector choose only inside this better share by the rule.
        stratify: "source" keeps the sources' proportions, "source-equal" takes as many of each.
        target: file of prompts with good answers, for the selector `target`.
        trainer: one of `instructmine list trainers`.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `sft.epochs=1`, `grid.number=6`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        drop_overlap: leave out pool rows that occur in an eval set instead of refusing.
        allow_unscorable: go on when more than 5 % of rows have no quality.
        force: use a rule although its indicators' recipes differ from yours.
        seed: of searcher, ranking and the first training; other trainings count up from it.
        workdir: where scores and trainings are kept (default: INSTRUCTMINE_WORKDIR or your cache
            folder).
        engine: where jobs run.
        workers: trainings that run at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads of one training; None divides the cores among local workers.
        progress: called with (what, done, total).
        dry_run: search nothing; return a TrialPlan with measured estimates.

    Returns:
        The size with the curve it was read from, or a TrialPlan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    limits = limits_of(max_trials, max_minutes, max_tokens, patience)
    check_call(out, seeds, match, steps, minimum, maximum)
    run = open_run(
        profile=profile, settings=set, target=target, workdir=workdir, engine=engine,
        workers=workers, device=device, ray_address=ray_address, threads=threads,
        progress=progress,
    )  # fmt: skip
    how = searcher_of(run, searcher, seeds, limits)
    search_set, *others = sets = [read_eval_set(eval), *read_eval_sets(report_eval)]
    refuse_shared(search_set, others, "what a size is searched by cannot report how good it is")
    main = strategy(run, selector, rule=rule, within=within, stratify=stratify)
    main = replace(main, name=ranking_name(main, within, stratify))
    taking_part = {main.name: main, **further_rankings(run, compare, rule, target)}
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
    fields = runner.trainer.identity()  # a base model that cannot serve is an error now
    if match == "epochs" and "steps" in fields:
        raise UsageError(
            f"{trainer}.steps is set; pass --match steps, and --steps for their number"
        )

    index = index_pool(open_pool(as_sources(pool), mapping=map), progress)
    exclusions = Exclusions(index)
    exclusions.overlapping(overlap_with_pool(index, sets, drop=drop_overlap))
    columns = [column for one in ranked for column in one.columns]
    measurements = plan(run, index, dict.fromkeys((*TOKENS, *columns)))
    warnings = [
        line for one in ranked for line in check_recipes(one.rule, measurements, force=force)
    ]
    scores, tallies = score_index(run, index, measurements, allow_unscorable=True)
    exclusions.unscorable(np.isnan(scores.matrix(main.columns)).any(axis=1), scores)
    if not allow_unscorable:
        refuse_unscorable(exclusions.stated(), len(index))
    exclusions.duplicates("exact", main.rule.predict(scores) if main.rule else None)
    embedded, targets = embed(run, index, ranked, target)
    if embedded:
        measurements = [*measurements, embedded.measurement]
        tallies[embedded.measurement.name] = embedded.tally
    read = runner.trainer.identity().get("max_length")
    scored = ScoredPool(index, scores, exclusions.free(), embedded, targets, read)

    sizes, notes = size_range(minimum, maximum, len(scored.passing(main).free), seeds)
    number = range(seed, seed + seeds)
    rankings = [
        prefixes(
            name, one, usable_by(scored, one), number, limit=sizes.maximum, draws=is_drawn(name)
        )
        for name, one in taking_part.items()
    ]
    if match == "steps":
        runner = fixed_steps(run, runner, trainer, steps, sizes.maximum)
    check_tokens(scored, rankings[0], runner, how, sizes, limits)
    work = PrefixRunner(run, runner, index)
    if dry_run:
        return _plan(work, rankings, how, sizes, limits, seed)
    found = explore(
        how, sizes, lambda jobs: work.measure(rankings[0], jobs), seed=seed, limits=limits,
        ahead=workers,
    )  # fmt: skip
    curve = found.curve()
    if curve is None:
        first = next(one.error for outcomes in found.outcomes.values() for one in outcomes)
        raise EvidenceError(
            f"every training failed ({first}); lower {trainer}.learning_rate or look at the pool"
        )
    work.forget(main.name, found.outcomes)
    for one in rankings[1:]:
        work.measure(one, [(point.size, k) for point in curve.eligible for k in range(seeds)])
    curves = {one.name: work.curves(one.name, curve.sizes) for one in rankings}
    curves = {name: by_set for name, by_set in curves.items() if by_set}
    warnings += [f"{one.name}: {line}" for one in rankings for line in one.remarks]
    warnings += [*notes, *exclusions.warnings, *_cautions(found, seeds, len(search_set))]
    warnings += training_warnings(list(work.results.values()))
    main_curve = curves[main.name][search_set.name]
    summary = {
        **choice_facts(main_curve),
        **search_facts(found),
        "ranking": main.name,
        "searcher": searcher,
        "range": [sizes.minimum, sizes.maximum],
        "seeds": list(number),
        "match": match,
        "eval": search_set.name,
        "report_eval": [one.name for one in others],
        "base_model": str(runner.trainer.base_model),
        "curve": curve_rows(curves),
        "shapes": shape_facts(curves),
        "against_random": against_random(curves, rankings),
        "replays": replays(run.profile, sizes, main_curve, limits),
        "replays_are": REPLAY_NOTE,
        "warnings": list(dict.fromkeys(warnings)),
        "next": _next(arguments, main_curve.chosen.size),
    }
    trials = Trials(
        trials_table(
            index, work.planned(), list(work.results.values()),
            design="prefix", sets=sets, means=lambda positions: {},
        ),
        about=_about(runner, search_set, others, index.digest),
    )  # fmt: skip
    manifest = {
        **provenance("search", arguments),
        **describe(run, index, measurements, tallies),
        "rule": main.rule.to_json() if main.rule else None,
        "search": {
            **_about(runner, search_set, others, index.digest),
            "searcher": {"name": searcher, "config": repr(how)},
            "selector": repr(main.selector),
            "candidates": len(scored.passing(main).free),
        },
        "excluded": exclusions.counts(),
        "warnings": summary["warnings"],
        "seconds": round(time.perf_counter() - started, 3),
    }
    result = SizeSearch(curves, summary, trials, manifest)
    return result if out is None else replace(result, files=_write(Path(out), index, result))


def _plan(
    work: PrefixRunner,
    rankings: Sequence[Prefixes],
    how: Searcher,
    sizes: SizeRange,
    limits: Limits,
    seed: int,
) -> TrialPlan:
    """Estimate a search as if the loss only fell with the size, which is dearer than most."""

    def falling(jobs: Sequence[tuple[int, int]]) -> list[Outcome]:
        return [Outcome(np.array([2 - 0.01 * math.log(n), 2.0]), n) for n, _ in jobs]

    trials_only = replace(limits, seconds=None, tokens=None)
    found = explore(how, sizes, falling, seed=seed, limits=trials_only)
    jobs = [(size, k) for size, done in found.outcomes.items() for k in range(len(done))]
    wanted = [one.training(job) for one in rankings for job in sorted(jobs)]
    time_ = training_time(work.run, work.runner, work.index, wanted)
    return TrialPlan(rows=len(work.index), trials=len(wanted), **dataclasses.asdict(time_))


def _cautions(found: Exploration, seeds: int, prompts: int) -> list[str]:
    """Say what makes the answer less than it looks."""
    lines = []
    for size, outcomes in found.outcomes.items():
        lost = [one.error for one in outcomes if one.error]
        if lost:
            lines.append(f"size {size:,} is left out: {len(lost)} trainings failed ({lost[0]})")
    if seeds == 1:
        lines.append(
            "one seed: how much trainings of one size differ is not known, so the choice and its "
            "interval are about these trainings alone; pass --seeds 3"
        )
    if len(found.outcomes) == 1:
        lines.append("one size was measured: nothing says whether another is better")
    if prompts < FEW_PROMPTS:
        lines.append(f"the search set holds {prompts} prompts; differences this small need more")
    return lines


def _about(
    runner: TrialRunner, search_set: EvalSet, others: Sequence[EvalSet], pool: str
) -> dict[str, Any]:
    return {
        "base_model": str(runner.trainer.base_model),
        "trainer": runner.trainer.identity(),
        "evaluator": runner.evaluator.identity(),
        "eval": describe_set(search_set),
        "report_eval": [describe_set(one) for one in others],
        "pool": pool,
    }


def _next(arguments: Mapping[str, Any], size: int) -> str:
    """Return the command that selects what was found."""
    words = ["instructmine", "select", *map(str, as_sources(arguments["pool"]))]
    words += ["--size", str(size)]
    usual = {"profile": "starter", "selector": "top"}
    for name in ("profile", "rule", "selector", "within", "stratify", "target", "seed"):
        if arguments[name] and arguments[name] != usual.get(name):
            words += [f"--{name}", str(arguments[name])]
    for setting in arguments["set"]:
        name = setting.partition(".")[0]
        if not any(name in plugins.names(group) for group in ("trainers", "searchers")):
            words += ["--set", setting]
    if arguments["map"]:
        words += ["--map", ",".join(f"{k}={v}" for k, v in arguments["map"].items())]
    if arguments["drop_overlap"]:
        for file in (arguments["eval"], *arguments["report_eval"]):
            path = str(file) if Path(file).exists() else str(file).partition("=")[2]
            words += ["--decontaminate", path]
    words += ["--allow-unscorable"] * bool(arguments["allow_unscorable"])
    words += ["--force"] * bool(arguments["force"])
    beside = Path(arguments["out"] or "search.json").with_name("selected.jsonl")
    return shlex.join([*words, "-o", str(beside)])


def _write(out: Path, index: PoolIndex, result: SizeSearch) -> dict[str, Path]:
    """Write what stands beside the result, then the result; returns the paths."""
    files = {"trials": out.with_suffix(".trials.parquet")}
    result.trials.write(files["trials"])
    if can_plot():
        files["plot"] = out.with_suffix(".png")
        plot(result, files["plot"])
    files |= write_beside_table(out, index, result.manifest)
    write_text(out, json.dumps(result.summary, indent=2, ensure_ascii=False) + "\n")
    return {"search": out, **files}
