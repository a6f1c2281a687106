"""`instructmine store info|prune|compact`."""

from __future__ import annotations

from typing import Annotated

import typer

from instructmine.cli import _options as o

app = typer.Typer(help="Look after the stored scores.", no_args_is_help=True, rich_markup_mode=None)
Keys = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY…]", help="Recipe keys or indicator names.")
]


@app.command("info")
def info(workdir: o.Workdir = None, json: o.Json = False) -> None:
    """Show what is stored: one line per recipe."""
    from instructmine.cli._show import emit_json, say, table
    from instructmine.stages.store import store_info

    found = store_info(workdir=workdir)
    if json:
        emit_json(found)
        return
    say(
        f"{found['workdir']}: {len(found['recipes'])} recipes, {found['bytes']:,} bytes",
        *table(
            ("key", "rows", "parts", "bytes", "last written"),
            [(r["key"], r["rows"], r["parts"], r["bytes"], r["used"]) for r in found["recipes"]],
        ),
    )


@app.command("prune")
def prune(
    keys: Keys = None,
    older_than: Annotated[
        float | None, typer.Option(metavar="DAYS", help="Recipes not written to for so long.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every recipe.")] = False,
    workdir: o.Workdir = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go; delete nothing.")
    ] = False,
    json: o.Json = False,
) -> None:
    """Delete stored recipes: those named, those too old, or all."""
    from instructmine.cli._show import emit_json, say
    from instructmine.stages.store import store_prune

    found = store_prune(
        keys or (), older_than=older_than, everything=everything, workdir=workdir, dry_run=dry_run
    )
    if json:
        emit_json(found)
        return
    verb = "would delete" if dry_run else "deleted"
    say(f"{verb} {len(found['keys'])} recipes, {found['bytes']:,} bytes", *found["keys"])


@app.command("compact")
def compact(keys: Keys = None, workdir: o.Workdir = None, json: o.Json = False) -> None:
    """Merge the parts of recipes into one file each; safe while others read."""
    from instructmine.cli._show import emit_json, say, table
    from instructmine.stages.store import store_compact

    found = store_compact(keys or (), workdir=workdir)
    if json:
        emit_json(found)
        return
    rows = [(key, before, after) for key, (before, after) in found["parts"].items()]
    say(*table(("key", "parts before", "after"), rows))
