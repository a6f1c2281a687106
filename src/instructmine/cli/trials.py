"""`instructmine trials`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import TrialPlan, TrialRun


def trials(
    pool: o.Pools,
    base_model: o.BaseModel,
    evaluation: Annotated[
        str,
        typer.Option("--eval", help="Prompts with references to fit on: FILE or NAME=FILE."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Parquet file to write the table to.")
    ] = None,
    report_eval: Annotated[
        list[str] | None,
        typer.Option(help="Measured as well, never fitted on: FILE or NAME=FILE."),
    ] = None,
    count: Annotated[int, typer.Option(help="Number of subsets.")] = 129,
    size: Annotated[int, typer.Option(help="Examples in each.")] = 1000,
    design: Annotated[str, typer.Option(help="mixture or stratified.")] = "mixture",
    noise: Annotated[
        int, typer.Option(help="Train so many subsets with three more seeds, to measure noise.")
    ] = 0,
    trainer: Annotated[str, typer.Option(help="`instructmine list trainers`.")] = "sft",
    indicators: Annotated[
        list[str] | None, typer.Option(help="Indicators or columns (default: the profile's).")
    ] = None,
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    target: o.Target = None,
    drop_overlap: Annotated[
        bool, typer.Option("--drop-overlap", help="Leave out pool rows that an eval set holds.")
    ] = False,
    keep_checkpoints: Annotated[
        bool, typer.Option("--keep-checkpoints", help="Keep the tuned models in the work folder.")
    ] = False,
    seed: o.Seed = 0,
    workdir: o.Workdir = None,
    engine: o.Engine = "local",
    workers: o.Workers = 1,
    ray_address: o.RayAddress = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Fine-tune many subsets and measure the loss each leaves: what `fit` learns a rule from.

    Example: instructmine trials examples/pool.jsonl --base-model starter
    --eval examples/eval.jsonl --count 20 --size 100 -o build/trials.parquet
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.errors import UsageError
    from instructmine.results import TrialPlan
    from instructmine.stages.trials import trials as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o trials.parquet (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            base_model=base_model,
            eval=evaluation,
            out=out,
            report_eval=report_eval or (),
            count=count,
            size=size,
            design=design,
            noise=noise,
            trainer=trainer,
            indicators=o.split_names(indicators) or ("all",),
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
            target=target,
            drop_overlap=drop_overlap,
            keep_checkpoints=keep_checkpoints,
            seed=seed,
            workdir=workdir,
            engine=engine,
            workers=workers,
            ray_address=ray_address,
            device=device,
            threads=threads,
            progress=progress,
            dry_run=dry_run,
        )
    if isinstance(result, TrialPlan):
        print_plan(result, json=json)
    elif json:
        emit_json({**result.manifest, "files": {k: str(v) for k, v in result.files.items()}})
    else:
        _show(result)


def print_plan(plan: TrialPlan, *, json: bool) -> None:
    """Print what would be trained, and how long that takes."""
    from instructmine.cli._show import emit_json, say

    if json:
        emit_json(dataclasses.asdict(plan))
        return
    say(
        f"{plan.trials} trials of {plan.rows:,} rows, {plan.finished} of them finished",
        f"about {plan.seconds_each:,.1f} s for one, {plan.seconds / 60:,.1f} minutes for the "
        f"rest (measured by {plan.measured})",
    )


def _show(result: TrialRun) -> None:
    """Print what the trials came to, and what to do next."""
    import numpy as np

    from instructmine.cli._show import say, show_files, show_tallies

    table = result.trials
    show_tallies(result.manifest)
    losses = table.column("log_loss")
    known = losses[~np.isnan(losses)]
    say(
        f"{len(table)} trials; log loss {known.min():.4f} … {known.max():.4f}, "
        f"mean {known.mean():.4f}, sd {known.std():.4f}"
    )
    failed = [text for text in table.table.column("error").to_pylist() if text]
    if failed:
        say(f"{len(failed)} trials failed and are left out of any fit; first: {failed[0]}")
    noise = table.seed_noise()
    if noise is not None:
        say(f"seed noise: sd {noise:.4f} of log loss between trainings on the same subset")
    say(*(f"warning: {warning}" for warning in result.manifest["warnings"]))
    excluded = result.manifest["excluded"]
    if excluded:
        say("left out: " + ", ".join(f"{name} {count:,}" for name, count in excluded.items()))
    show_files(result.files)
    if "trials" in result.files:
        path = result.files["trials"]
        say(f"next: instructmine fit {path} -o {path.with_name('rule.json')}")
