"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from instructmine.errors import UsageError

Pools = Annotated[
    list[str], typer.Argument(metavar="POOL…", help="Files, folders or hub dataset ids.")
]
Profile = Annotated[
    str, typer.Option(help="Which models stand behind the indicators: starter, paper, or a TOML.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="INDICATOR.OPTION=VALUE", help="Override one profile option."),
]
Map = Annotated[
    str | None,
    typer.Option(
        "--map", metavar="prompt=…,response=…", help="Columns of files with unusual names."
    ),
]
Target = Annotated[
    Path | None, typer.Option(help="File of prompts with good answers: the work you want done.")
]
Gate = Annotated[list[str] | None, typer.Option(help="Leave out rows that fail, as in 'reward>0'.")]
AllowUnscorable = Annotated[
    bool, typer.Option("--allow-unscorable", help="Go on when over 5 % of rows have no score.")
]
Workdir = Annotated[
    str | None,
    typer.Option(
        envvar="INSTRUCTMINE_WORKDIR",
        help="Where scores are kept, a folder or a URL (default: your cache folder).",
    ),
]
Engine = Annotated[str, typer.Option(help="Where jobs run: local or ray.")]
Workers = Annotated[int, typer.Option(min=1, help="Jobs that run at the same time.")]
RayAddress = Annotated[
    str | None,
    typer.Option(help="Ray cluster to join: HOST:PORT or auto (default: RAY_ADDRESS, or its own)."),
]
BaseModel = Annotated[
    str, typer.Option("--base-model", help="Causal LM: `starter`, a folder or a hub id.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads (default: the library's choice).")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed for everything random.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show rows, tokens, models and cost; score nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


def parse_mapping(text: str | None) -> dict[str, str] | None:
    """Read `prompt=a,response=b`. Raises UsageError for anything else."""
    if text is None:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and column.strip() for name, equals, column in pairs):
        raise UsageError(f"cannot read --map {text}; write prompt=COLUMN,response=COLUMN")
    return {name.strip(): column.strip() for name, _, column in pairs}


def split_names(texts: list[str] | None) -> list[str]:
    """Read a repeatable option whose values may be comma-separated."""
    return [name.strip() for text in texts or () for name in text.split(",") if name.strip()]
