"""The size curve as a picture, where matplotlib is installed."""

from __future__ import annotations

import math
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructmine.files import publish

if TYPE_CHECKING:
    from instructmine.results import SizeSearch

COLOURS = ("#1f6f8b", "#c1553b", "#5b8c3a", "#8661a8", "#b58a1b", "#5a5a5a")  # no pair by hue alone
MARKERS = "osD^vP"
TICKS = ((1, 2, 3, 5), (1, 3), (1,))
MOST_TICKS = 8  # sizes named on the axis: the measured ones, round ones where those do not fit
LEAST_APART = 0.12  # of the axis, between sizes named on it
NOTE = "mean over seeds; bars: 95 % interval of the difference to the lowest of the curve"


def can_plot() -> bool:
    """Tell whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def plot(result: SizeSearch, path: Path) -> None:
    """Draw loss against size, one panel per eval set.

    The bars are 95 % intervals of the difference to the lowest loss of the curve: how hard the
    prompts are would hide it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sets = list(next(iter(result.curves.values())))
    figure = Figure(figsize=(max(6.4, 4.6 * len(sets)), 4.4), layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False)[0]
    for panel, name in zip(panels, sets, strict=True):
        _panel(panel, result, name)
    panels[0].set_ylabel("loss, nats per token (lower is better)")
    handles = panels[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(NOTE, fontsize=8, color="dimgray")
    with publish(path) as temporary:
        FigureCanvasAgg(figure).print_png(str(temporary))


def _panel(panel: Any, result: SizeSearch, name: str) -> None:
    sizes: set[int] = set()
    for number, (ranking, by_set) in enumerate(result.curves.items()):
        if name not in by_set:
            continue
        curve = by_set[name]
        gaps = [curve.difference(point, curve.best) for point in curve.points]
        shift = 1 + 0.015 * number  # so that the bars of several rankings can be told apart
        panel.errorbar(
            [size * shift for size in curve.sizes], [point.loss for point in curve.points],
            yerr=[one.high - one.value for one in gaps], label=ranking, capsize=2, elinewidth=0.8,
            lw=1.4, ms=4, color=COLOURS[number % 6], marker=MARKERS[number % 6],
        )  # fmt: skip
        sizes |= set(curve.sizes)
    panel.axvline(result.size, color="black", lw=1, ls=":", label=f"chosen: {result.size:,}")
    panel.set_xscale("log")
    shown = _ticks(sorted(sizes))
    panel.set_xticks(shown, [f"{tick:,}" for tick in shown])
    panel.set_xticks([], minor=True)
    panel.set_xlabel("examples trained on")
    panel.set_title(name if name != result.eval else f"{name} (searched by)", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)


def _ticks(sizes: list[int]) -> list[int]:
    apart = [math.log(after / before) for before, after in pairwise(sizes)]
    if len(sizes) <= MOST_TICKS and min(apart, default=1) >= sum(apart) * LEAST_APART:
        return sizes
    for digits in TICKS:
        round_ones = [n * 10**power for power in range(10) for n in digits]
        shown = [tick for tick in round_ones if sizes[0] <= tick <= sizes[-1]]
        if len(shown) <= MOST_TICKS:
            break
    return shown if len(shown) > 1 else sizes
