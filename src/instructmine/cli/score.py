"""`instructmine score`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from instructmine.cli import _options as o


def score(
    pool: o.Pools,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Parquet file to write.")] = None,
    indicators: Annotated[
        list[str] | None,
        typer.Option(help="Indicators or columns, comma-separated (default: all)."),
    ] = None,
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    target: o.Target = None,
    allow_unscorable: o.AllowUnscorable = False,
    workdir: o.Workdir = None,
    engine: o.Engine = "local",
    workers: o.Workers = 1,
    ray_address: o.RayAddress = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Measure every example of a pool and write a score table.

    Example: instructmine score examples/pool.jsonl -o build/scores.parquet
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json, say, show_files, show_plan, show_tallies
    from instructmine.errors import UsageError
    from instructmine.results import Plan
    from instructmine.stages.score import score as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o scores.parquet (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            out=out,
            indicators=o.split_names(indicators) or ("all",),
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
            target=target,
            allow_unscorable=allow_unscorable,
            workdir=workdir,
            engine=engine,
            workers=workers,
            ray_address=ray_address,
            device=device,
            threads=threads,
            progress=progress,
            dry_run=dry_run,
        )
    if isinstance(result, Plan):
        emit_json(dataclasses.asdict(result)) if json else show_plan(result)
        return
    if json:
        emit_json({**result.manifest, "files": {k: str(v) for k, v in result.files.items()}})
        return
    show_tallies(result.manifest)
    say(*(f"warning: {warning}" for warning in result.manifest["warnings"]))
    show_files(result.files)
