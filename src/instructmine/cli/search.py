"""`instructmine search`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from instructmine.cli import _options as o

if TYPE_CHECKING:
    from instructmine.results import SizeSearch, TrialPlan

REPORTED = 4  # comparisons with random shown per ranking; all are in the file


def search(
    pool: o.Pools,
    base_model: o.BaseModel,
    evaluation: Annotated[
        str,
        typer.Option("--eval", help="Prompts with references to search by: FILE or NAME=FILE."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON file to write the result to.")
    ] = None,
    report_eval: Annotated[
        list[str] | None,
        typer.Option(help="Measured as well, never searched by: FILE or NAME=FILE."),
    ] = None,
    minimum: Annotated[
        int | None, typer.Option("--min", help="Smallest size (default: 512).")
    ] = None,
    maximum: Annotated[
        int | None, typer.Option("--max", help="Largest size (default: 10,000).")
    ] = None,
    searcher: Annotated[str, typer.Option(help="`instructmine list searchers`.")] = "blend",
    seeds: Annotated[int, typer.Option(help="Trainings of one size.")] = 3,
    match: Annotated[
        str, typer.Option(help="What is equal for all sizes: epochs or steps.")
    ] = "epochs",
    steps: Annotated[
        int | None,
        typer.Option(help="With --match steps (default: one pass over the largest size)."),
    ] = None,
    max_trials: Annotated[int | None, typer.Option(help="Most trainings.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Of training time, stored trainings counted.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Trained on, repeats counted.")] = None,
    patience: Annotated[
        int, typer.Option(help="Sizes in a row without gain beyond noise that end blend; 0: none.")
    ] = 3,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Further rankings at the same sizes: random, longest, …, or a file."),
    ] = None,
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
    target: o.Target = None,
    trainer: Annotated[str, typer.Option(help="`instructmine list trainers`.")] = "sft",
    profile: o.Profile = "starter",
    settings: o.Set = None,
    mapping: o.Map = None,
    drop_overlap: Annotated[
        bool, typer.Option("--drop-overlap", help="Leave out pool rows that an eval set holds.")
    ] = False,
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
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Find how many examples to train on: fine-tunes prefixes of the ranking.

    Example: instructmine search examples/pool.jsonl --base-model starter
    --eval examples/eval.jsonl --drop-overlap --min 32 -o build/search.json
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json
    from instructmine.errors import UsageError
    from instructmine.results import TrialPlan
    from instructmine.stages.search import search as run

    if out is None and not dry_run:
        raise UsageError("name the output: -o search.json (or pass --dry-run)")
    with show_progress() as progress:
        result = run(
            pool,
            base_model=base_model,
            eval=evaluation,
            out=out,
            report_eval=report_eval or (),
            minimum=minimum,
            maximum=maximum,
            searcher=searcher,
            seeds=seeds,
            match=match,
            steps=steps,
            max_trials=max_trials,
            max_minutes=max_minutes,
            max_tokens=max_tokens,
            patience=patience,
            compare=o.split_names(compare),
            rule=rule,
            selector=selector,
            within=within,
            stratify=stratify,
            target=target,
            trainer=trainer,
            profile=profile,
            set=settings or (),
            map=o.parse_mapping(mapping),
            drop_overlap=drop_overlap,
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
    if isinstance(result, TrialPlan):
        _show_plan(result, json=json)
    elif json:
        emit_json({**result.summary, "files": {k: str(v) for k, v in result.files.items()}})
    else:
        _show(result)


def _show_plan(plan: TrialPlan, *, json: bool) -> None:
    """Print what would be trained, if the loss fell all the way, and how long that takes."""
    from instructmine.cli._show import say
    from instructmine.cli.trials import print_plan

    print_plan(plan, json=json)
    if not json:
        say("reckoned as if the loss only fell with the size, which is dearer than most")


def _show(result: SizeSearch) -> None:
    """Print the curve, what it says, how other searchers would have done, and what to do next."""
    from instructmine.cli._show import say, show_files, show_tallies

    show_tallies(result.manifest)
    _show_curve(result)
    _show_rankings(result)
    _show_replays(result)
    say("", *(f"warning: {warning}" for warning in result.summary["warnings"]))
    excluded = result.manifest["excluded"]
    if excluded:
        say("left out: " + ", ".join(f"{name} {count:,}" for name, count in excluded.items()))
    say(*result.explain())
    show_files(result.files)
    say(f"next: {result.summary['next']}")


def _show_curve(result: SizeSearch) -> None:
    """Print one row per size: losses, and how far above the lowest with its interval."""
    from instructmine.cli._show import say, table

    found = result.summary
    own = [row for row in found["curve"] if row["ranking"] == found["ranking"]]
    reported: dict[tuple[str, int], float] = {(r["eval"], r["size"]): r["loss"] for r in own}
    marks = {found["best"]: "lowest", found["size"]: "chosen"}
    if found["best"] == found["size"]:
        marks = {found["size"]: "lowest, chosen"}
    rows = [
        (
            row["size"],
            row["seeds"],
            row["loss"],
            f"{row['above_best']:.4f}",
            _interval(row["above_low"], row["above_high"]),
            f"{found['winners'].get(str(row['size']), 0):.0%}",
            *(reported[name, row["size"]] for name in found["report_eval"]),
            marks.get(row["size"], ""),
        )
        for row in own
        if row["eval"] == found["eval"]
    ]
    header = ("size", "seeds", "loss", "above lowest", "95 %", "best in", *found["report_eval"], "")
    say("", f"{found['ranking']}, loss on {found['eval']}:", *table(header, rows))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None or low == high else f"{low:+.4f} to {high:+.4f}"


def _show_rankings(result: SizeSearch) -> None:
    """Print every ranking's loss at every size, and what each curve does beyond chance."""
    from instructmine.cli._show import say, table

    found = result.summary
    names = list(result.curves)
    if len(names) == 1:
        return
    loss = {(r["ranking"], r["size"]): r["loss"] for r in found["curve"]
            if r["eval"] == found["eval"]}  # fmt: skip
    sizes = sorted({size for _, size in loss})
    rows = [(size, *(loss.get((name, size)) for name in names)) for size in sizes]
    say("", f"loss on {found['eval']}:", *table(("size", *names), rows))
    for one in found["shapes"]:
        if one["eval"] == found["eval"]:
            say(f"{one['ranking']}: {one['explained']}")
    for name in names:
        own = [r for r in found["against_random"] if r["ranking"] == name
               and r["eval"] == found["eval"] and r["difference"] is not None]  # fmt: skip
        if own:
            better = [f"{r['size']:,}" for r in own if r["verdict"] == "better than random"]
            worse = [f"{r['size']:,}" for r in own if r["verdict"] == "worse than random"]
            say(
                f"{name}: better than random at {', '.join(better) or 'no size'}, "
                f"worse at {', '.join(worse) or 'none'} (corrected p ≤ .05)"
            )


def _show_replays(result: SizeSearch) -> None:
    """Print how each searcher would have done on the measured curve."""
    from instructmine.cli._show import say, table

    rows = [
        (
            one["searcher"],
            one["trials"],
            round(one["rows"]),
            f"{one['reached']:.0%}",
            one["trials_to"],
            f"{one['excess']:.2%}",
        )
        for one in result.summary["replays"]
    ]
    header = ("searcher", "trainings", "rows", "reached", "after trainings", "loss above lowest")
    if rows:
        say("", f"searchers {result.summary['replays_are']}", *table(header, rows))
