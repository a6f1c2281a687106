"""A report as one HTML page that needs nothing but itself.

Everything that came from data is escaped by the templates or, in the browser part, put in place as
text by the page's script. The policy in its head allows the page's own script and style, known by
their digests, and nothing else: no request, no frame, no script or style that data could bring.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from instructmine.errors import MissingExtraError
from instructmine.reporting.blocks import (
    Block,
    Browser,
    Chart,
    Grid,
    Report,
    Section,
    Tabs,
    is_number,
    numeric,
    shown,
)
from instructmine.reporting.plain import script_json, visible
from instructmine.reporting.theme import DARK, LIGHT

ASSETS = Path(__file__).parent.parent / "assets" / "report"
PLOTS = "plotly-basic.min.js"
LISTED = 120  # numbers behind a chart that are listed under it
HEAT_STEPS = 5


def render(report: Report) -> str:
    """Return the page. Raises MissingExtraError without Jinja2."""
    environment = _environment()
    style = environment.get_template("page.css").render(light=LIGHT, dark=DARK)
    plots = (ASSETS / PLOTS).read_text(encoding="utf-8")
    script = (ASSETS / "page.js").read_text(encoding="utf-8")
    charts = {one.name: dataclasses.asdict(one) for one in _charts(report)}
    browser = next((one.data for one in _blocks(report) if isinstance(one, Browser)), None)
    page: str = environment.get_template("page.html").render(
        report=report,
        policy=policy((plots, script), style),
        style=style,
        plots=plots,
        script=script,
        data=script_json({"charts": charts, "browser": browser}),
        browser=browser,
    )
    return page


def policy(scripts: tuple[str, ...], style: str) -> str:
    """Return the Content-Security-Policy of a page with these scripts and this style.

    The digest of the empty style is in it for the chart library, which fills one by itself.
    """
    own = " ".join(_digest(text) for text in scripts)
    return (
        f"default-src 'none'; script-src {own}; style-src {_digest(style)} {_digest('')}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    found = base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
    return f"'sha256-{found}'"


def _environment() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("jinja2", "report", "a report") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters |= {
        "shown": shown,
        "kind": lambda block: type(block).__name__,
        "pieces": _pieces,
        "heat": _heat,
    }
    environment.tests["number"] = is_number
    environment.globals["numeric"] = numeric
    environment.globals["listed"] = lambda chart: sum(len(o.x) for o in chart.series) <= LISTED
    return environment


def _finalize(value: Any) -> Any:
    """Show what is invisible in text from data; markup of the templates' own is left alone."""
    return visible(value) if type(value) is str else value


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """Yield (is code, text) of a sentence with `code` in it."""
    for place, piece in enumerate(text.split("`")):
        if piece:
            yield bool(place % 2), piece


def _heat(value: Any) -> str:
    """Return the class of a correlation: heat-3, heat--2."""
    return f"heat-{round(value * HEAT_STEPS)}" if isinstance(value, float) else ""


def _blocks(report: Report) -> Iterator[Block]:
    for section in report.sections:
        yield from section.blocks


def _charts(report: Report | Section) -> Iterator[Chart]:
    """Yield every chart, those in tabs and grids too."""
    for block in _blocks(report) if isinstance(report, Report) else report.blocks:
        if isinstance(block, Chart):
            yield block
        elif isinstance(block, Tabs):
            yield from block.charts
        elif isinstance(block, Grid):
            yield from (part for part in block.parts if isinstance(part, Chart))
