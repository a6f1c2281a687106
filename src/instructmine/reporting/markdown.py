"""A report as Markdown, with its charts as PNG files beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from instructmine.reporting.blocks import (
    Block,
    Browser,
    Chart,
    Facts,
    Grid,
    Report,
    Section,
    Table,
    Tabs,
    Text,
    numeric,
    shown,
)
from instructmine.reporting.plain import visible

ROWS = 40  # of a table; a page holds them all
CARDS = 3  # rows shown of each group
CLIP = 300  # characters shown of a message
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~])")

Draw = Callable[[Chart], str]  # draws a chart and returns the link to it


def render(report: Report, draw: Draw | None) -> str:
    """Return the page. draw: None leaves the charts out."""
    parts = [f"# {escaped(report.title)}", *(f"> {escaped(note)}" for note in report.notes)]
    for section in report.sections:
        parts.append(f"## {escaped(section.title)}")
        parts += section_parts(section, draw)
    return "\n\n".join(parts) + "\n"


def section_parts(section: Section, draw: Draw | None, *, folded: bool = False) -> list[str]:
    """Return the paragraphs of a section. folded: tables that a page folds are there too."""
    parts = [
        text
        for block in section.blocks
        if folded or not (isinstance(block, Table) and block.folded)
        for text in _block(block, draw)
    ]
    if section.origin:
        parts.append(f"<sub>From {escaped(', '.join(section.origin))}</sub>")
    return parts


def _block(block: Block, draw: Draw | None) -> Iterator[str]:
    if isinstance(block, Text):
        yield _text(block)
    elif isinstance(block, Facts):
        lines = [(one.label, one.value, one.note) for one in block.facts]
        yield _table(Table("", ("", "", ""), tuple(lines)))
    elif isinstance(block, Table):
        yield f"**{escaped(block.title)}**"
        yield _table(replace(block, rows=block.rows[:ROWS]))
        left = len(block.rows) - ROWS
        notes = [f"{left:,} more rows" if left > 0 else "", block.note]
        if any(notes):
            yield f"<sub>{escaped('; '.join(filter(None, notes)))}</sub>"
    elif isinstance(block, Chart):
        yield from _chart(block, draw)
    elif isinstance(block, Tabs):
        for one in block.charts:
            yield from _chart(one, draw)
    elif isinstance(block, Grid):
        for part in block.parts:
            yield from _block(part, draw)
    elif isinstance(block, Browser):
        yield from _cards(block)


def _text(block: Text) -> str:
    if block.kind == "code":
        fence = "`" * max(3, _longest_run(block.text) + 1)
        return f"{fence}\n{visible(block.text)}\n{fence}"
    pieces = block.text.split("`")
    text = "".join(
        f"`{visible(piece)}`" if place % 2 and place < len(pieces) - 1 else escaped(piece)
        for place, piece in enumerate(pieces)
    )
    return f"> {text}" if block.kind == "warning" else text


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _chart(chart: Chart, draw: Draw | None) -> Iterator[str]:
    if draw is not None:
        yield f"![{escaped(chart.alt)}]({draw(chart)})"


def _table(table: Table) -> str:
    right = numeric(table)
    marks = ("---:" if place in right else "---" for place in range(len(table.header)))
    lines = [
        "| " + " | ".join(map(escaped, table.header)) + " |",
        "|" + "|".join(marks) + "|",
        *(
            ("| ↳ " if place in table.indented else "| ")
            + " | ".join(escaped(shown(one)) for one in row)
            + " |"
            for place, row in enumerate(table.rows)
        ),
    ]
    return "\n".join(lines)


def _cards(block: Browser) -> Iterator[str]:
    """Yield the first rows of each group, clipped."""
    for group in block.data["groups"]:
        own = [row for row in block.data["rows"] if group in row["groups"]]
        yield f"**{escaped(group.capitalize())}**"
        lines = []
        for row in own[:CARDS]:
            where = f"{block.data['sources'][row['source']]}:{row['row']}"
            rank = f"#{row['rank']:,} " if row["rank"] else ""
            lines.append(f"- {rank}{escaped(where)} {escaped(row['reason'])}")
            lines += [
                f"  - {escaped(role)}: {escaped(_clip(text))}" for role, text, _ in row["messages"]
            ]
        yield "\n".join(lines)


def _clip(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= CLIP else line[: CLIP - 1] + "…"


def escaped(text: str) -> str:
    """Return text on one line that Markdown and HTML show as it is."""
    line = " ".join(visible(text).splitlines())
    return html.escape(_SPECIAL.sub(r"\\\1", line), quote=False)
