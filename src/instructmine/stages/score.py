"""`score`: measures every example of a pool and writes the score table."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from instructmine.contracts import Batch, Progress
from instructmine.errors import InstructmineError, UsageError
from instructmine.files import publish, write_text
from instructmine.formats import open_pool
from instructmine.modelref import ModelRef
from instructmine.results import Plan, Scoring
from instructmine.scores import ScoreTable
from instructmine.stages._index import PoolIndex, index_pool, write_rejected
from instructmine.stages._measure import (
    Measurement,
    Tally,
    approximations,
    gather,
    measure,
    missing,
    plan,
)
from instructmine.stages._run import Run, open_run, provenance

UNSCORABLE_LIMIT = 0.05  # more than this share without a value stops a run
PLAN_SAMPLE = 1000  # rows whose tokens are counted for a dry run


def score(
    pool: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    indicators: Sequence[str] = ("all",),
    profile: str = "starter",
    set: Sequence[str] = (),
    map: Mapping[str, str] | None = None,
    target: str | Path | None = None,
    allow_unscorable: bool = False,
    workdir: str | Path | None = None,
    engine: str = "local",
    workers: int = 1,
    ray_address: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> Scoring | Plan:
    """Score every example of a pool.

    Args:
        pool: files, folders or hub dataset ids.
        out: Parquet file to write; a manifest and the rejected rows are written beside it.
        indicators: names of indicators or columns, or `all` of the profile's.
        profile: shipped profile or TOML file.
        set: overrides of the profile, `reward.model=PATH`.
        map: columns of unusual files, {"prompt": …, "response": …}.
        target: file of prompts with good answers, for `target_similarity`.
        allow_unscorable: go on when more than 5 % of rows have no value.
        workdir: where scores are kept (default: INSTRUCTMINE_WORKDIR or your cache folder).
        engine: where jobs run.
        workers: processes that score at the same time.
        ray_address: Ray cluster to join; None uses RAY_ADDRESS, or a Ray of its own.
        device: auto, cpu, cuda, cuda:N or mps.
        threads: CPU threads; None leaves the library's default.
        progress: called with (what, done, total).
        dry_run: return a Plan and score nothing.

    Returns:
        The score table with its manifest, or a Plan.

    Raises:
        InstructmineError: in one line, what is wrong, where, and what to do.
    """
    arguments = {k: v for k, v in locals().items() if k not in ("progress", "dry_run")}
    started = time.perf_counter()
    check_table_name(out)
    run = open_run(
        profile=profile, settings=set, target=target, workdir=workdir, engine=engine,
        workers=workers, ray_address=ray_address, device=device, threads=threads, progress=progress,
    )  # fmt: skip
    index = index_pool(open_pool(as_sources(pool), mapping=map), progress)
    measurements = plan(run, index, indicators)
    if dry_run:
        return plan_work(run, index, measurements)
    scores, tallies = score_index(run, index, measurements, allow_unscorable=allow_unscorable)
    manifest = {
        **provenance("score", arguments),
        **describe(run, index, measurements, tallies),
        "warnings": approximations(tallies),
        "seconds": round(time.perf_counter() - started, 3),
    }
    files: dict[str, Path] = {}
    if out is not None:
        files = write_scores(Path(out), scores, index, manifest)
    return Scoring(scores, manifest, files)


def as_sources(pool: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Return the pool argument as a list. Raises UsageError when it names nothing."""
    sources = [pool] if isinstance(pool, (str, Path)) else list(pool)
    if not sources:
        raise UsageError("no pool was given; name at least one file or folder")
    return sources


def score_index(
    run: Run, index: PoolIndex, measurements: Sequence[Measurement], *, allow_unscorable: bool
) -> tuple[ScoreTable, dict[str, Tally]]:
    """Measure what is missing and return the table; too many unscorable rows are an error."""
    tallies = {one.name: measure(run, index, one) for one in measurements}
    scores = gather(run, index, measurements, tallies)
    if not allow_unscorable:
        errors = [text for text in scores.table.column("errors").to_pylist() if text]
        refuse_unscorable(errors, len(scores))
    return scores, tallies


def refuse_unscorable(errors: Sequence[str], rows: int) -> None:
    """Raise InstructmineError when more than 5 % of the rows have no value; one error each."""
    if len(errors) <= UNSCORABLE_LIMIT * rows:
        return
    reason, count = Counter(errors).most_common(1)[0]
    raise InstructmineError(
        f"{len(errors)} of {rows} rows cannot be scored (most often, {count} times: "
        f"{reason}); mend the pool, rank by another --rule, or pass --allow-unscorable"
    )


def describe(
    run: Run,
    index: PoolIndex,
    measurements: Sequence[Measurement],
    tallies: Mapping[str, Tally],
) -> dict[str, Any]:
    """Return the part of a manifest about profile, pool and indicators."""
    return {
        "profile": run.profile.name,
        "pool": {
            "sources": list(index.sources),
            "digest": index.digest,
            "rows": len(index),
            "rejected": len(index.rejected),
            "distinct": int(index.first_occurrence().sum()),
        },
        "indicators": {
            one.name: {
                "columns": list(one.columns),
                "key": one.recipe.key,
                "recipe": one.recipe.fields,
                **dataclasses.asdict(tallies[one.name]),
            }
            for one in measurements
        },
    }


def write_scores(
    out: Path, scores: ScoreTable, index: PoolIndex, manifest: Mapping[str, Any]
) -> dict[str, Path]:
    """Write what stands beside the table, then the table; returns the paths by what they are."""
    files = write_beside_table(out, index, manifest)
    with publish(out) as temporary:
        pq.write_table(scores.table, temporary, compression="zstd")
    return {"scores": out, **files}


def write_beside_table(out: Path, index: PoolIndex, manifest: Mapping[str, Any]) -> dict[str, Path]:
    """Write manifest and rejected rows beside a table to be; returns the paths."""
    files = beside(out, "manifest", "rejected")
    write_rejected(files["rejected"], index.rejected)
    write_manifest(files["manifest"], manifest)
    return files


def check_table_name(out: str | Path | None) -> None:
    """Raise UsageError for an output that is no Parquet file, before any work is done."""
    if out is not None and Path(out).suffix != ".parquet":
        raise UsageError(f"tables are written as Parquet; name the output {Path(out).stem}.parquet")


def beside(out: Path, *kinds: Literal["manifest", "rejected", "decisions"]) -> dict[str, Path]:
    """Return the paths of the files that stand beside an output, named by its stem."""
    name = out.name.removesuffix(".gz").removesuffix(".zst")
    stem = Path(name).stem
    endings = {"manifest": "json", "rejected": "jsonl", "decisions": "parquet"}
    return {kind: out.with_name(f"{stem}.{kind}.{endings[kind]}") for kind in kinds}


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest as readable JSON."""
    write_text(path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")


def plan_work(run: Run, index: PoolIndex, measurements: Sequence[Measurement]) -> Plan:
    """Return what scoring would do and cost, loading no model."""
    work = {}
    past = {stored.key: stored for stored in run.store.recipes()}
    for one in measurements:
        rows = int(missing(run, index, one).sum())
        before = past.get(one.recipe.key)
        rate = before.seconds / before.rows if before and before.rows else None
        work[one.name] = {
            "columns": list(one.columns),
            "rows": rows,
            "stored": len(index) - rows if rows < len(index) else 0,
            "model": ", ".join(
                str(getattr(one.indicator, item.name))
                for item in dataclasses.fields(one.indicator)
                if isinstance(getattr(one.indicator, item.name), ModelRef)
            ),
            "seconds": 0.0 if not rows else None if rate is None else round(rate * rows, 1),
        }
    return Plan(
        rows=len(index),
        rejected=len(index.rejected),
        distinct=int(index.first_occurrence().sum()),
        tokens=_estimate_tokens(run, index),
        work=work,
    )


def _estimate_tokens(run: Run, index: PoolIndex) -> int:
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(index), min(PLAN_SAMPLE, len(index)), replace=False)
    wanted = np.zeros(len(index), dtype=bool)
    wanted[chosen] = True
    examples = [example for _, example in index.examples(wanted)]
    batch = Batch(np.array([e.id for e in examples], dtype="S32"), examples)
    columns = ("input_length", "output_length")
    scored = run.profile.indicator("length").open(run.context, columns).score(batch)
    lengths = sum(np.nan_to_num(scored.values[name]) for name in columns)
    return int(round(float(np.mean(lengths)) * len(index)))
