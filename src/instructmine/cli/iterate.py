"""`instructmine iterate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import Iteration, IterationPlan


def iterate(
    pool: o.Pools,
    base_model: Annotated[
        str | None,
        typer.Option(
            "--base-model",
            help="Who answers: `starter`, a folder, a hub id, or endpoint:NAME "
            "(default: the profile's).",
        ),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="`instructmine list judges` (default: the profile's).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the chosen rows, best first.")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Budget in rows.")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Budget as a share of the pool (default: 0.2).")
    ] = None,
    tokens: Annotated[int | None, typer.Option(help="Budget in tokens.")] = None,
    alpha: Annotated[
        float, typer.Option(help="Weight of the classifier against similarity to hard ones.")
    ] = 0.9,
    clusters: Annotated[int, typer.Option(help="K-means clusters to draw evenly from.")] = 100,
    draw: Annotated[
        float, typer.Option(help="Share of the candidates drawn from clusters.")
    ] = 0.15,
    batch: Annotated[
        float, typer.Option(help="Share of the candidates labelled in a round.")
    ] = 0.015,
    rounds: Annotated[int, typer.Option(help="Fewest rounds.")] = 3,
    most_rounds: Annotated[int, typer.Option(help="Most rounds.")] = 10,
    stop_accuracy: Annotated[
        float, typer.Option(help="Accuracy on a fresh batch that ends the rounds.")
    ] = 0.95,
    nearest: Annotated[
        int, typer.Option(help="Similarity: mean over so many nearest hard rows.")
    ] = 1,
    holdout: Annotated[
        int, typer.Option(help="Random rows labelled to measure by, never learned.")
    ] = 100,
    ties: Annotated[str, typer.Option(help="What a tie counts as: easy, hard or none.")] = "easy",
    diverse: Annotated[
        bool, typer.Option("--diverse/--no-diverse", help="Draw from clusters, or at random.")
    ] = True,
    take: Annotated[str, typer.Option(help="Batches by score, or at random.")] = "score",
    classifier: Annotated[
        str | None,
        typer.Option(help="Encoder the classifier begins from (default: the profile's)."),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of the classifier, in each round.")] = 4,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Both labels weigh alike in its training.")
    ] = False,
    gate: o.Gate = None,
    decontaminate: Annotated[
        list[Path] | None, typer.Option(help="Leave out prompts that occur in this eval file.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(help="Of an answer.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens.")] = 1.0,
    max_requests: Annotated[
        int | None, typer.Option(help="To judge and endpoint, over all runs.")
    ] = None,
    max_cost: Annotated[float | None, typer.Option(help="In the unit of the prices.")] = None,
    price_in: Annotated[float | None, typer.Option(help="Per million tokens sent.")] = None,
    price_out: Annotated[float | None, typer.Option(help="Per million tokens received.")] = None,
    output_format: Annotated[
        str, typer.Option("--format", help="`instructmine list formats`.")
    ] = "same",
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    seed: o.Seed = 0,
    workdir: o.Workdir = None,
    engine: o.Engine = "local",
    workers: o.Workers = 1,
    ray_address: o.RayAddress = None,
    device: o.Device = "auto",
    threads: o.Threads = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Embed the pool; show answers, requests and cost; ask nobody."
        ),
    ] = False,
    json: o.Json = False,
) -> None:
    """Choose what your model still gets wrong: IterSelectTune.

    Example: instructmine iterate examples/pool.jsonl --base-model starter --batch 0.1
    --holdout 30 --max-new-tokens 64 -o build/hard.jsonl
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.errors import UsageError
    from instructmine.results import IterationPlan
    from instructmine.stages.iterate import iterate as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o hard.jsonl (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            base_model=base_model,
            judge=judge,
            out=out,
            size=size,
            fraction=fraction,
            tokens=tokens,
            alpha=alpha,
            clusters=clusters,
            draw=draw,
            batch=batch,
            rounds=rounds,
            most_rounds=most_rounds,
            stop_accuracy=stop_accuracy,
            nearest=nearest,
            holdout=holdout,
            ties=ties,
            diverse=diverse,
            take=take,
            classifier=classifier,
            epochs=epochs,
            balanced=balanced,
            gate=gate or (),
            decontaminate=decontaminate or (),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            max_requests=max_requests,
            max_cost=max_cost,
            price_in=price_in,
            price_out=price_out,
            format=output_format,
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
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
    if isinstance(result, IterationPlan):
        emit_json(dataclasses.asdict(result)) if json else _show_plan(result)
    elif json:
        emit_json({**result.manifest, "files": {k: str(v) for k, v in result.files.items()}})
    else:
        _show(result)


def _show_plan(plan: IterationPlan) -> None:
    """Print what it would take at most."""
    from instructmine.cli._show import say

    cost = "" if plan.cost is None else f", about {plan.cost:,.2f} in the unit of your prices"
    say(
        f"{plan.candidates:,} candidates of {plan.rows:,} rows; {plan.per_round:,} in a round, "
        f"{plan.holdout:,} held out",
        f"at most {plan.answers:,} answers and {plan.requests:,} requests to the judge "
        f"({plan.tokens_in:,} tokens sent, {plan.tokens_out:,} received{cost})",
    )


def _show(result: Iteration) -> None:
    """Print the rounds, how far the labels can be trusted, and what was chosen."""
    from instructmine.cli._show import say, show_files, table

    facts = result.manifest["iterate"]
    say(
        *table(
            ("round", "rows", "hard", "hard so far", "accuracy", "AUROC held out", "coverage"),
            [
                (
                    number,
                    one["rows"],
                    one["hard"],
                    one["hard_so_far"],
                    one["accuracy"],
                    (one["holdout"] or {}).get("auroc"),
                    one["coverage"],
                )
                for number, one in enumerate(result.rounds)
            ],
        )
    )
    held = result.rounds[-1]["holdout"]
    if held:
        say(
            f"held out: {held['rows']} rows, {held['prevalence']:.0%} hard, accuracy "
            f"{held['accuracy']:.0%}, calibration error {held['calibration_error']:.2f}"
        )
    if facts["order_agreement"] is not None:
        say(f"both orders agree on {facts['order_agreement']:.0%} of the pairs")
    if facts["empty_answers"]:
        say(f"{facts['empty_answers']:,} answers of the base model are empty: they count as hard")
    if facts["cut_prompts"]:
        say(f"{facts['cut_prompts']:,} prompts are cut: they are longer than the classifier reads")
    for why, count in facts["unlabelled"].items():
        say(f"{count:,} rows could not be labelled: {why}")
    say(*(f"warning: {warning}" for warning in result.manifest["warnings"]))
    chosen = result.manifest["selection"]
    by = (f"{name.replace(', ', ' by the ')} {n:,}" for name, n in facts["chosen"].items())
    say(
        f"chosen: {', '.join(by)}",
        f"selected {chosen['rows']:,} of {chosen['pool_rows']:,} rows, "
        f"{chosen['tokens']:,} of {chosen['pool_tokens']:,} tokens",
        "reasons: " + ", ".join(f"{name} {count:,}" for name, count in chosen["reasons"].items()),
    )
    show_files(result.files)
