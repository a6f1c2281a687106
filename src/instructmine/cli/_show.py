"""Prints results on stdout: readable text, or one JSON object and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructmine.results import Plan


def emit_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, default=str) + "\n")


def say(*lines: str) -> None:
    """Print lines for a person on stdout; progress and errors go to stderr."""
    for line in lines:
        sys.stdout.write(safe(line) + "\n")


def safe(text: str) -> str:
    """Make text from data harmless on a terminal: control characters become visible."""
    return (
        "".join(
            char if char == "\n" or char.isprintable() else f"\\x{ord(char):02x}" for char in text
        )
        .encode("utf-8", "backslashreplace")
        .decode()
    )


def clip(text: str, width: int) -> str:
    """Return the text on one line, at most `width` characters, marked where it was cut."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return aligned lines: text to the left, numbers to the right."""
    body = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    right = [
        bool(body) and all(_is_number(row[i]) or not row[i] for row in body)
        for i in range(len(header))
    ]
    return [
        "  ".join(
            value.rjust(width) if is_right else value.ljust(width)
            for value, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in [list(header), *body]
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True


def show_plan(plan: Plan) -> None:
    """Print what a run would do."""
    say(
        f"{plan.rows:,} rows ({plan.distinct:,} distinct, {plan.rejected:,} unreadable), "
        f"about {plan.tokens:,} tokens",
        *table(
            ("indicator", "to score", "stored", "seconds", "model"),
            [
                (
                    name,
                    one["rows"],
                    one["stored"],
                    "not measured yet" if one["seconds"] is None else one["seconds"],
                    one["model"],
                )
                for name, one in plan.work.items()
            ],
        ),
    )


def show_tallies(manifest: Mapping[str, Any]) -> None:
    """Print what measuring did, indicator by indicator."""
    say(
        *table(
            ("indicator", "computed", "stored", "cut", "unscorable", "seconds"),
            [
                (
                    name,
                    one["computed"],
                    one["stored"],
                    one["truncated"],
                    one["unscorable"],
                    round(one["seconds"], 1),
                )
                for name, one in manifest["indicators"].items()
            ],
        )
    )


def show_files(files: Mapping[str, Path]) -> None:
    """Print the paths written."""
    say(*(f"wrote {path} ({what})" for what, path in files.items()))
