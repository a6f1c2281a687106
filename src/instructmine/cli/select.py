"""`instructmine select`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import Selection


def select(
    pool: o.Pools,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write the chosen rows to.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Budget in rows.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Budget as a share of the pool.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget in prompt + response tokens.")] = None,
    rule: Annotated[
        str | None,
        typer.Option(help="Preset, indicator column or rule file (default: the profile's)."),
    ] = None,
    selector: Annotated[str, typer.Option(help="How to order: `instructmine list selectors`.")] = (
        "top"
    ),
    within: Annotated[
        float | None, typer.Option(help="Let the selector choose inside this better share only.")
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(
            metavar="source|source-equal", help="Keep the sources' proportions, or as many of each."
        ),
    ] = None,
    dedup: Annotated[str, typer.Option(help="exact, near (and exact) or none.")] = "exact",
    gate: o.Gate = None,
    decontaminate: Annotated[
        list[Path] | None, typer.Option(help="Leave out prompts that occur in this eval file.")
    ] = None,
    target: o.Target = None,
    output_format: Annotated[
        str, typer.Option("--format", help="same, or one of `instructmine list formats`.")
    ] = "same",
    indicators: Annotated[
        list[str] | None, typer.Option(help="More columns to score and keep in the decisions.")
    ] = None,
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    allow_unscorable: o.AllowUnscorable = False,
    force: Annotated[
        bool, typer.Option("--force", help="Use a rule although its indicators differ from yours.")
    ] = False,
    seed: o.Seed = 0,
    workdir: o.Workdir = None,
    engine: o.Engine = "local",
    workers: o.Workers = 1,
    ray_address: o.RayAddress = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    show: Annotated[
        int, typer.Option(min=0, help="How many of the best and the worst to show.")
    ] = 3,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Choose the best examples of a pool; every row gets a reason.

    Example: instructmine select examples/pool.jsonl --size 50 -o build/gold.jsonl
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json, show_plan
    from instructmine.errors import UsageError
    from instructmine.results import Plan
    from instructmine.stages.select import select as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o gold.jsonl (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            out=out,
            size=size,
            fraction=fraction,
            tokens=tokens,
            rule=rule,
            selector=selector,
            within=within,
            stratify=stratify,
            dedup=dedup,
            gate=gate or (),
            decontaminate=decontaminate or (),
            target=target,
            format=output_format,
            indicators=o.split_names(indicators),
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
            allow_unscorable=allow_unscorable,
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
    if isinstance(result, Plan):
        emit_json(dataclasses.asdict(result)) if json else show_plan(result)
    elif json:
        emit_json({**result.manifest, "files": {k: str(v) for k, v in result.files.items()}})
    else:
        _show(result, show)


def _show(result: Selection, examples: int) -> None:
    """Print what was chosen from what, by which rule, and where it was written."""
    from instructmine.cli._show import say, show_files, show_tallies, table
    from instructmine.rules.design import SetPrediction

    manifest, chosen = result.manifest, result.manifest["selection"]
    show_tallies(manifest)
    if examples:
        _show_examples(result, examples)
    rule = manifest["rule"]
    if rule:
        say("", f"rule {rule['name']}: {rule['scope']}")
        means = chosen["mean_quality"]
        say(f"mean quality {means['selected']:.4g} chosen, {means['pool']:.4g} pool (lower=better)")
    if manifest["prediction"]:
        say(*SetPrediction.from_json(manifest["prediction"]).explain())
    say(*(f"warning: {warning}" for warning in manifest["warnings"]))
    rejected = manifest["pool"]["rejected"]
    say(
        f"selected {chosen['rows']:,} of {chosen['pool_rows']:,} rows, "
        f"{chosen['tokens']:,} of {chosen['pool_tokens']:,} tokens"
        + (f"; {rejected:,} rows could not be read" if rejected else ""),
        "reasons: " + ", ".join(f"{name} {count:,}" for name, count in chosen["reasons"].items()),
    )
    if len(chosen["sources"]) > 1:
        rows = [(name, one["pool"], one["selected"]) for name, one in chosen["sources"].items()]
        say(*table(("source", "pool", "selected"), rows))
    show_files(result.files)


def _show_examples(result: Selection, examples: int) -> None:
    """Print the first and the last of the ranking, with scores, reasons and text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from instructmine.cli._show import clip, say

    ranked = pc.max(result.decisions.column("rank")).as_py()
    best = result.places(1, examples)
    worst = result.places(max(len(best), ranked - examples) + 1, ranked)
    measured = [c for m in result.manifest["indicators"].values() for c in m["columns"]]
    columns = [name for name in measured if name in best.column_names]  # no vectors
    pool_rows = iter(result.rows(pa.concat_tables([best, worst])))  # one pass for both
    for title, part in (("best", best), ("worst", worst)):
        say("", f"{title} {part.num_rows} of the ranking:")
        for row in part.to_pylist():
            read = next(pool_rows)
            assert read.example is not None
            scores = "  ".join(f"{c}={row[c]:.4g}" for c in columns if row.get(c) is not None)
            say(
                f"  #{row['rank']} {row['id'][:12]} {row['source']}:{row['row']} [{row['reason']}]",
                f"     {scores}",
                f"     > {clip(read.example.prompt, 88)}",
                f"     < {clip(read.example.response, 88)}",
            )
