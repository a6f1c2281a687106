"""`instructmine list`."""

from __future__ import annotations

from typing import Annotated

import typer

from instructmine.cli import _options as o


def list_names(
    kind: Annotated[
        str, typer.Argument(help="indicators, rules, profiles, selectors, formats or engines.")
    ],
    profile: o.Profile = "starter",
    json: o.Json = False,
) -> None:
    """List what there is to choose from, plug-ins included."""
    from instructmine.cli._show import emit_json, say, table
    from instructmine.stages.listing import listing

    header, rows = listing(kind, profile=profile)
    if json:
        emit_json({kind: [dict(zip(header, row, strict=True)) for row in rows]})
        return
    say(*table(header, rows))
