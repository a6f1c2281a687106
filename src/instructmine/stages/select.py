"""`select`: from a pool to the best N examples, with a reason for every row.

score → quality by the rule → drop duplicates and contaminated rows → rank → budget → files.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from instructmine import formats
from instructmine.contracts import Progress
from instructmine.errors import UsageError
from instructmine.files import check_place, publish
from instructmine.results import Plan, Ranking, Selection
from instructmine.rules.gates import read_gates
from instructmine.rules.linear import LinearRule
from instructmine.scores import KEYS, ScoreTable
from instructmine.stages._budget import Budget
from instructmine.stages._columns import spans
from instructmine.stages._exclude import Exclusions
from instructmine.stages._index import PoolIndex, index_pool, write_rejected
from instructmine.stages._measure import approximations, plan
from instructmine.stages._ranked import (
    TOKENS,
    ScoredPool,
    check_recipes,
    embed,
    refuse_missing_target,
    strategy,
)
from instructmine.stages._run import open_run, provenance
from instructmine.stages.score import (
    as_sources,
    beside,
    describe,
    plan_work,
    refuse_unscorable,
    score_index,
    write_manifest,
)


def select(
    pool: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    size: int | None = None,
    fraction: float | None = None,
    tokens: int | None = None,
    rule: str | None = None,
    selector: str = "top",
    within: float | None = None,
    stratify: str | None = None,
    dedup: str = "exact",
    gate: Sequence[str] = (),
    decontaminate: Sequence[str | Path] = (),
    target: str | Path | None = None,
    format: str = "same",
    indicators: Sequence[str] = (),
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
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
) -> Selection | Plan:
    """Choose the best examples of a pool.

    Args:
        pool: files, folders or hub dataset ids.
        out: file to write the chosen rows to, best first; the decisions, a manifest and the
            rejected rows are written beside it. None writes nothing.
        size: budget in rows; give exactly one of size, fraction and tokens.
        fraction: budget as a share of the readable pool rows.
        tokens: budget in prompt and response tokens.
        rule: preset, indicator column or rule file (default: the profile's).
        selector: how to order.
        within: let the selector choose only inside this better share by the rule.
        stratify: "source" keeps the sources' proportions, "source-equal" takes as many of each.
        dedup: "exact", "near" (and exact) or "none".
        gate: conditions that a row must pass, "reward>0", besides those of the rule.
        decontaminate: files whose prompts must not occur in the selection.
        target: file of prompts with good answers, for the selector `target`.
        format: "same" or one of `instructmine list formats`.
        indicators: more columns to score and keep in the decisions; no part of the choice.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `reward.model=PATH`, `deita.threshold=0.8`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        allow_unscorable: go on when more than 5 % of rows have no quality.
        force: use a rule although its indicators' recipes differ from yours.
        seed: for selectors that draw.
        workdir: where scores are kept (default: INSTRUCTMINE_WORKDIR or your cache folder).
        engine: where jobs run.
        workers: processes that score at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves the library's default.
        progress: called with (what, done, total).
        dry_run: return a Plan and choose nothing.

    Returns:
        The decision about every row, with the manifest, or a Plan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    skipped = ("progress", "dry_run")
    arguments = {name: value for name, value in locals().items() if name not in skipped}
    started = time.perf_counter()
    budget = Budget(size=size, fraction=fraction, tokens=tokens)
    asked = read_gates(gate)
    formats.check_format(format, out)
    run = open_run(
        profile=profile, settings=set, target=target, workdir=workdir, engine=engine,
        workers=workers, ray_address=ray_address, device=device, threads=threads, progress=progress,
    )  # fmt: skip
    how = strategy(run, selector, rule=rule, within=within, stratify=stratify)
    refuse_missing_target([how], target)
    gates = (*how.gates, *asked)
    needed = tuple(dict.fromkeys((*how.columns, *(one.column for one in gates))))

    opened = formats.open_pool(as_sources(pool), mapping=map)
    check_output(opened, out)
    index = index_pool(opened, progress)
    measurements = plan(run, index, (*TOKENS, *needed, *indicators))
    warnings = check_recipes(how.rule, measurements, force=force)
    if dry_run:
        return plan_work(run, index, measurements)

    scores, tallies = score_index(run, index, measurements, allow_unscorable=True)
    quality = how.rule.predict(scores) if how.rule else None
    exclusions = Exclusions(index)
    exclusions.unscorable(np.isnan(scores.matrix(needed)).any(axis=1), scores)
    if not allow_unscorable:
        refuse_unscorable(exclusions.stated(), len(index))
    for one in gates:
        exclusions.gated(~one.passed(scores), str(one))
    exclusions.contaminated(decontaminate)
    exclusions.duplicates(dedup, quality)

    embedded, targets = embed(run, index, [how], target)
    if embedded:
        measurements = [*measurements, embedded.measurement]
        tallies[embedded.measurement.name] = embedded.tally
    scored = ScoredPool(index, scores, exclusions.free(), embedded, targets)
    counts = scored.tokens
    limit = budget.limit(len(index), counts[scored.free])
    ranking = scored.rank(how, seed=seed, limit=limit)
    taken = budget.taken(limit, counts[scored.free][ranking.order])
    if taken == 0:
        raise UsageError("the budget is too small for even one example; give a larger one")

    decisions = decide(scores, quality, exclusions.reasons(), scored.free, ranking, taken)
    manifest = {
        **provenance("select", arguments),
        **describe(run, index, measurements, tallies),
        "rule": how.rule.to_json() if how.rule else None,
        "prediction": predict_selection(how.rule, decisions),
        "selector": {"name": selector, "config": repr(how.selector), "seed": seed},
        "warnings": [
            *warnings,
            *exclusions.warnings,
            *approximations(tallies),
            *ranking.remarks(taken),
        ],  # fmt: skip
        "selection": summarise(decisions, counts),
        "seconds": round(time.perf_counter() - started, 3),
    }
    files: dict[str, Path] = {}
    if out is not None:
        files = write_selected(Path(out), index, decisions, manifest, format)
    return Selection(decisions, manifest, files, index.pool)


def predict_selection(rule: LinearRule | None, decisions: pa.Table) -> dict[str, Any] | None:
    """Return what a fitted rule predicts for the chosen set, and how far out it lies, or None.

    The rule's unit is a set: it is given the means over the chosen rows.
    """
    if rule is None:
        return None
    chosen = decisions.filter(decisions.column("selected"))
    means = {
        name: float(np.mean(chosen.column(name).to_numpy(zero_copy_only=False)))
        for name in rule.columns
    }
    prediction = rule.predict_set(means)
    return None if prediction is None else {**prediction.to_json(), "means": means}


def decide(
    scores: ScoreTable,
    quality: npt.NDArray[np.float64] | None,
    reasons: pa.ChunkedArray,
    free: npt.NDArray[np.int64],
    ranking: Ranking,
    taken: int,
) -> pa.Table:
    """Return one row per pool row: its scores, quality, 1-based rank, selected, and reason."""
    n = len(scores)
    rank = np.zeros(n, dtype=np.int64)
    rank[free[ranking.order]] = np.arange(1, len(free) + 1)
    selected = (rank > 0) & (rank <= taken)
    else_why = pa.chunked_array(
        pc.if_else(pa.array(selected[span]), "selected", "below cut") for span in spans(n)
    )
    table = scores.table.select([*KEYS, *scores.indicators])
    values = np.full(n, np.nan) if quality is None else quality
    return (
        table.append_column("quality", pa.array(values, mask=np.isnan(values)))
        .append_column("rank", pa.array(rank, mask=rank == 0))
        .append_column("selected", pa.array(selected))
        .append_column("reason", pc.coalesce(reasons, else_why))
    )


def summarise(decisions: pa.Table, tokens: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Return the counts a manifest holds: rows and tokens by source, reasons, quality."""
    selected = decisions.column("selected").to_numpy(zero_copy_only=False)
    quality = decisions.column("quality").to_numpy(zero_copy_only=False)
    pool, chosen = (
        {one["values"]: one["counts"] for one in pc.value_counts(table["source"]).to_pylist()}
        for table in (decisions, decisions.filter(decisions.column("selected")))
    )
    return {
        "rows": int(selected.sum()),
        "tokens": int(np.nansum(tokens[selected])),
        "pool_rows": len(selected),
        "pool_tokens": int(np.nansum(tokens)),
        "sources": {
            name: {"pool": pool[name], "selected": chosen.get(name, 0)} for name in sorted(pool)
        },
        "reasons": Selection(decisions, {}).reasons,
        "mean_quality": {"selected": _mean(quality[selected]), "pool": _mean(quality)},
    }


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def check_output(pool: formats.Pool, out: str | Path | None) -> None:
    """Raise where the output cannot be written, or would replace a file of the pool."""
    if out is not None:
        check_place(out)
        written = beside(Path(out), "decisions", "manifest", "rejected")
        pool.refuse_replacing(Path(out), *written.values())


def write_selected(
    out: Path,
    index: PoolIndex,
    decisions: pa.Table,
    manifest: dict[str, Any],
    output_format: str,
    more: Mapping[str, Path] | None = None,
) -> dict[str, Path]:
    """Write what stands beside the output, then the output; returns the paths.

    more: what was written besides, for the manifest to name.
    """
    files = {**beside(out, "decisions", "manifest", "rejected"), **(more or {})}
    write_rejected(files["rejected"], index.rejected)
    with publish(files["decisions"]) as temporary:
        pq.write_table(decisions, temporary, compression="zstd")
    chosen = Selection(decisions, manifest, pool=index.pool)
    rows = chosen.rows(chosen.selected)
    written = formats.write_selection(rows, out, format=output_format, pool=index.pool)
    manifest["warnings"] = [*manifest["warnings"], *written.notes]
    manifest["files"] = {what: str(path) for what, path in {**written, **files}.items()}
    write_manifest(files["manifest"], manifest)
    return {**written, **files}
