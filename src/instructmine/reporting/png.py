"""Charts as PNG, for where a page cannot run: READMEs and dataset cards. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instructmine.errors import MissingExtraError
from instructmine.reporting.blocks import Chart, Series
from instructmine.reporting.plain import visible
from instructmine.reporting.theme import LIGHT

SIZE = (7.2, 3.8)  # inches
DOTS = 110  # per inch
MARKERS = "oDs^P*hX"
LONGEST = 42  # characters of a name on the axis


def draw(chart: Chart, path: Path) -> None:
    """Draw a chart in the light colours. Raises MissingExtraError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "report", "a report in Markdown") from error
    height = SIZE[1] if not chart.lying else max(2.2, 1.1 + 0.38 * len(_names(chart)))
    figure = Figure(figsize=(SIZE[0], height), layout="constrained")
    panel = figure.subplots()
    for place, one in enumerate(chart.series):
        _series(panel, chart, one, place)
    _dress(panel, chart)
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", dpi=DOTS, metadata={"Software": None})


def _names(chart: Chart) -> list[str]:
    return list(dict.fromkeys(str(name) for one in chart.series for name in one.y))


def _series(panel: Any, chart: Chart, one: Series, place: int) -> None:
    shade = LIGHT[one.role]
    if chart.lying:
        _lying(panel, chart, one, place)
    elif one.kind == "points":
        size = 9 if chart.bare else 26
        panel.scatter(
            one.x, one.y, s=size, c=shade, marker=_marker(place), label=_text(one.name), alpha=0.85
        )
    elif one.kind == "bars":
        panel.bar(one.x, one.y, color=shade, label=_text(one.name))
    elif one.low:
        panel.errorbar(
            one.x, one.y, yerr=_ends(one, one.y), color=shade, marker=_marker(place), capsize=3,
            label=_text(one.name),
        )  # fmt: skip
    else:
        style = "steps-mid" if one.kind == "steps" else "default"
        dashes = ":" if one.role == "rest" else "-"
        panel.plot(
            one.x, one.y, color=shade, drawstyle=style, linestyle=dashes, label=_text(one.name)
        )


def _lying(panel: Any, chart: Chart, one: Series, place: int) -> None:
    names = _names(chart)
    count = len(chart.series)
    thick = 0.75 / count
    shift = (place - (count - 1) / 2) * thick if one.kind == "bars" else 0.0
    at = [names.index(str(name)) + shift for name in one.y]
    if one.kind == "bars":
        panel.barh(at, one.x, height=thick, color=LIGHT[one.role], label=_text(one.name))
    else:
        ends = _ends(one, one.x) if one.low else None
        panel.errorbar(
            one.x, at, xerr=ends, fmt=_marker(place), color=LIGHT[one.role], capsize=3,
            label=_text(one.name),
        )  # fmt: skip


def _marker(place: int) -> str:
    return MARKERS[place % len(MARKERS)]


def _ends(one: Series, values: tuple[Any, ...]) -> list[list[float]]:
    """Return the lengths of the intervals to either side; one that is not known has none."""
    return [
        [0.0 if end is None else abs(end - value) for end, value in zip(ends, values, strict=True)]
        for ends in (one.low, one.high)
    ]


def _dress(panel: Any, chart: Chart) -> None:
    """Add the axes' names, the marks and the legend."""
    panel.set_title(_text(chart.title), fontsize=11, loc="left")
    panel.set_xlabel(_text(chart.x_title))
    panel.set_ylabel("" if chart.lying else _text(chart.y_title))
    panel.spines[["top", "right"]].set_visible(False)
    if chart.log_x:
        panel.set_xscale("log")
    if chart.lying:
        names = _names(chart)
        panel.set_yticks(range(len(names)), [_text(name)[:LONGEST] for name in names])
        panel.invert_yaxis()
    if chart.bare:
        panel.set_xticks([])
        panel.set_yticks([])
    for mark in chart.marks:
        style = {"color": LIGHT["muted"], "linestyle": "--", "linewidth": 1}
        if mark.axis == "x":
            panel.axvline(mark.at, label=mark.label or None, **style)
        elif mark.axis == "y":
            panel.axhline(mark.at, label=mark.label or None, **style)
        else:
            panel.axline((mark.at, mark.at), slope=1, **style)
    if len(chart.series) > 1 or any(mark.label for mark in chart.marks):
        panel.legend(frameon=False, fontsize=9)


def _text(text: str) -> str:
    """Return text that matplotlib sets as it is: a dollar sign begins no formula."""
    return visible(text).replace("$", r"\$")
