"""`instructmine explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructmine.cli import _options as o


def explain(
    what: Annotated[
        str, typer.Argument(help="The beginning of an example id, a recipe key, or an indicator.")
    ],
    decisions: Annotated[
        Path | None, typer.Option(help="The .decisions.parquet of a selection, for an id.")
    ] = None,
    workdir: o.Workdir = None,
    json: o.Json = False,
) -> None:
    """Say why an example was chosen or not, or why a score was computed anew."""
    from instructmine.cli._show import emit_json, say
    from instructmine.stages.explain import explain as run

    found = run(what, decisions=decisions, workdir=workdir)
    if json:
        emit_json(found.data)
    else:
        say(*found.lines)
