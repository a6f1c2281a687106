"""`instructmine report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructmine.cli import _options as o


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN…",
            help="What select, iterate, score, trials, fit, search, compare or evaluate wrote.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Page to write: .html or .md.")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="html or md (default: by the ending of the output).")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    embed: Annotated[
        bool,
        typer.Option("--embed", help="Compute the embeddings for map and topics where missing."),
    ] = False,
    card: Annotated[
        Path | None, typer.Option(help="Write a Hugging Face dataset card of the chosen set.")
    ] = None,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME", help="Upload the chosen set and its card, with your own login."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Of a repository made by --push-to-hub.")
    ] = True,
    workdir: o.Workdir = None,
    seed: o.Seed = 0,
    device: o.Device = "auto",
    threads: o.Threads = None,
    json: o.Json = False,
) -> None:
    """Show what other commands did on one page that needs no network.

    Example: instructmine report gold.jsonl rule.json comparison.parquet -o report.html
    """
    from instructmine.cli._progress import show_progress
    from instructmine.cli._show import emit_json, say, show_files
    from instructmine.errors import UsageError
    from instructmine.stages.report import report as run

    if out is None and card is None and push_to_hub is None:
        raise UsageError("name the output: -o report.html")
    with show_progress() as progress:
        made = run(
            runs,
            out=out,
            format=format,
            title=title,
            embed=embed,
            card=card,
            push_to_hub=push_to_hub,
            private=private,
            workdir=workdir,
            seed=seed,
            device=device,
            threads=threads,
            progress=progress,
        )
    if json:
        emit_json(
            {
                "sections": [one.name for one in made.sections],
                "notes": made.notes,
                "files": made.files,
                "url": made.url,
            }
        )
        return
    say(f"sections: {', '.join(one.title for one in made.sections)}")
    say(*(f"note: {note}" for note in made.notes))
    show_files(made.files)
    say(*([f"published {made.url}"] if made.url else []))
