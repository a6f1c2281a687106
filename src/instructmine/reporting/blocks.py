"""What a report is made of: sections of text, numbers, tables and charts, free of any markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Value = Any  # a number, a text or None
Kind = Literal["bars", "line", "steps", "points"]


@dataclass(frozen=True)
class Text:
    """A paragraph. kind: what a reader should make of it."""

    text: str
    kind: Literal["plain", "warning", "good", "code"] = "plain"


@dataclass(frozen=True)
class Fact:
    """One number that matters, with what it is and a remark."""

    label: str
    value: Value
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Numbers side by side."""

    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a header; values are shown by `shown`.

    heat: cells are correlations and get a colour each. indented: rows whose first cell is a part
    of what stands above. folded: shown only when asked for.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""
    heat: bool = False
    indented: frozenset[int] = frozenset()
    folded: bool = False


@dataclass(frozen=True)
class Series:
    """Points, bars or a line.

    x, y: where they are; one of the two may be names. low, high: ends of an interval of each
    value. labels: what each point is. role: what the colour stands for, see `theme`.
    """

    name: str
    kind: Kind
    x: tuple[Value, ...]
    y: tuple[Value, ...]
    role: str = "chosen"
    low: tuple[Value, ...] = ()
    high: tuple[Value, ...] = ()
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Mark:
    """A straight line through a chart: at x, at y, or the diagonal."""

    axis: Literal["x", "y", "diagonal"]
    at: float = 0.0
    label: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart. alt: what it shows, in a sentence, for who cannot see it.

    lying: names stand on the y axis and values run to the right. small: two fit side by side.
    """

    name: str
    title: str
    alt: str
    series: tuple[Series, ...]
    x_title: str = ""
    y_title: str = ""
    marks: tuple[Mark, ...] = ()
    log_x: bool = False
    lying: bool = False
    small: bool = False
    bare: bool = False

    def numbers(self) -> Table:
        """Return what is drawn as a table."""
        ends = any(one.low for one in self.series)
        header = ("", self.x_title or "x", self.y_title or "y", *(("low", "high") if ends else ()))
        rows = [
            (one.name, x, y, *((low, high) if ends else ()))
            for one in self.series
            for x, y, low, high in zip(
                one.x, one.y, one.low or one.x, one.high or one.x, strict=True
            )
        ]
        if ends:
            rows = [row if one.low else (*row[:3], None, None) for one, row in self._each(rows)]
        return Table(f"Numbers of: {self.title}", header, tuple(rows), folded=True)

    def _each(self, rows: Sequence[tuple[Value, ...]]) -> list[tuple[Series, tuple[Value, ...]]]:
        owners = [one for one in self.series for _ in one.x]
        return list(zip(owners, rows, strict=True))


@dataclass(frozen=True)
class Tabs:
    """The same chart seen in several ways."""

    name: str
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Grid:
    """Small charts or tables side by side."""

    parts: tuple[Chart | Table, ...]


@dataclass(frozen=True)
class Browser:
    """A sample of rows to look through; `data` is JSON-like, see `cards`."""

    data: Mapping[str, Any]


Block = Text | Facts | Table | Chart | Tabs | Grid | Browser


@dataclass(frozen=True)
class Section:
    """One part of the page. origin: the files its numbers come from."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    origin: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is shown, and where it was written.

    notes: what could not be shown, and why. chosen: rows of the choice, None without one.
    """

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()
    version: str = ""
    chosen: int | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    url: str = ""

    def section(self, name: str) -> Section | None:
        """Return a section by its name, None where there is nothing to show in it."""
        return next((one for one in self.sections if one.name == name), None)


def shown(value: Value) -> str:
    """Return a value as every form prints it: 12,345, 0.1235, 1.2e-06, ✓, –."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.4g}".replace("-", "−")
    return str(value)


def share(part: float, whole: float) -> str:
    """Return a part of a whole in per cent: 12.2 %, 0.05 %."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.2g} %" if 0 < percent < 1 else f"{percent:.1f} %"


def count(number: int, noun: str) -> str:
    """Return a number with its noun: 1 file, 3 files."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_number(value: Value) -> bool:
    """Tell whether a value is a number (or a share), to be set to the right."""
    if isinstance(value, str):
        return value.endswith(" %") or value in ("–", "")
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def numeric(table: Table) -> frozenset[int]:
    """Return the columns of a table that hold numbers alone, to be set to the right."""
    return frozenset(
        place
        for place in range(len(table.header))
        if table.rows and all(is_number(row[place]) for row in table.rows)
    )
