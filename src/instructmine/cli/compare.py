"""`instructmine compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import Comparison


def compare(
    pool: o.Pools,
    base_model: o.BaseModel,
    evaluation: Annotated[
        list[str],
        typer.Option("--eval", help="Prompts with references to measure on: FILE or NAME=FILE."),
    ],
    size: Annotated[list[int], typer.Option(help="Rows to choose; may be repeated.")],
    random_size: Annotated[
        list[int] | None,
        typer.Option(help="Further sizes of random alone: what `worth` is read from."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Parquet file to write the table to.")
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option(help="`instructmine list strategies`, selectors, rule:RULE, files, or all."),
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Preset, column or rule file.")] = None,
    target: o.Target = None,
    match: Annotated[str, typer.Option(help="What is equal for all: rows, tokens or steps.")] = (
        "rows"
    ),
    seeds: Annotated[int, typer.Option(help="Trainings of each strategy and size.")] = 3,
    trainer: Annotated[str, typer.Option(help="`instructmine list trainers`.")] = "sft",
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    drop_overlap: Annotated[
        bool, typer.Option("--drop-overlap", help="Leave out pool rows that an eval set holds.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Use a rule fitted on other indicators than yours.")
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
    """Hold ways of choosing against a random draw: is it really better?

    Example: instructmine compare examples/pool.jsonl --base-model starter
    --eval examples/eval.jsonl --size 60 --strategies rule,longest -o build/comparison.parquet
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.cli.trials import print_plan
    from instructmine.errors import UsageError
    from instructmine.results import TrialPlan
    from instructmine.stages.compare import compare as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o comparison.parquet (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            base_model=base_model,
            eval=evaluation,
            size=size,
            random_size=random_size or (),
            out=out,
            strategies=o.split_names(strategies),
            rule=rule,
            target=target,
            match=match,
            seeds=seeds,
            trainer=trainer,
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
            drop_overlap=drop_overlap,
            force=force,
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
        emit_json(
            {
                **result.manifest,
                "results": result.table.to_pylist(),
                "files": {k: str(v) for k, v in result.files.items()},
            }
        )
    else:
        _show(result)


def _show(result: Comparison) -> None:
    """Print one table per eval set and size, and what follows."""
    from instructmine.cli._show import say, show_files, table

    facts = {(r["strategy"], r["size"], r["eval"]): r for r in result.table.to_pylist()}
    for name, size in dict.fromkeys((key[2], key[1]) for key in facts):
        rows = [one for key, one in facts.items() if key[1:] == (size, name)]
        say(f"── {name}, {size:,} rows (loss in nats per token; lower is better)")
        say(
            *table(
                (
                    "strategy",
                    "loss",
                    "to random",
                    "95 % interval",
                    "p",
                    "worth",
                    "tokens",
                    "verdict",
                ),
                [_line(one) for one in sorted(rows, key=lambda one: one["loss"])],
            ),
            "",
        )
    say(*(f"warning: {warning}" for warning in result.manifest["warnings"]))
    excluded = result.manifest["excluded"]
    if excluded:
        say("left out: " + ", ".join(f"{name} {count:,}" for name, count in excluded.items()))
    say(
        "p is corrected for the number of comparisons on its eval set; worth: random rows (or "
        "tokens) needed for the same loss, over those spent; tokens: trained on",
        *result.explain(),
    )
    show_files(result.files)


def _line(one: dict[str, Any]) -> tuple[Any, ...]:
    gap, low, high, p = (
        one[name] for name in ("difference", "difference_low", "difference_high", "p_corrected")
    )
    return (
        one["strategy"],
        f"{one['loss']:.4f}",
        "" if gap is None else f"{gap:+.4f}",
        "" if gap is None else f"{low:+.4f} … {high:+.4f}",
        "" if p is None else f"{p:.3f}" if p >= 0.0005 else "< 0.001",
        one["multiplier_text"],
        round(one["tokens_trained"]),
        one["verdict"],
    )
