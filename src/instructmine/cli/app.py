"""The commands, gathered."""

from __future__ import annotations

from typing import Annotated

import typer

from instructmine import __version__
from instructmine.cli.compare import compare
from instructmine.cli.evaluate import evaluate
from instructmine.cli.explain import explain
from instructmine.cli.fit import fit
from instructmine.cli.iterate import iterate
from instructmine.cli.listing import list_names
from instructmine.cli.report import report
from instructmine.cli.score import score
from instructmine.cli.search import search
from instructmine.cli.select import select
from instructmine.cli.store import app as store_app
from instructmine.cli.trials import trials

app = typer.Typer(
    name="instructmine",
    help="Pick the instruction examples worth fine-tuning on, and prove that they were worth it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"instructmine {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Pick the instruction examples worth fine-tuning on, and prove that they were worth it."""


app.command("score")(score)
app.command("select")(select)
app.command("trials")(trials)
app.command("fit")(fit)
app.command("search")(search)
app.command("compare")(compare)
app.command("iterate")(iterate)
app.command("evaluate")(evaluate)
app.command("report")(report)
app.command("list")(list_names)
app.command("explain")(explain)
app.add_typer(store_app, name="store")
