"""Tables and plots of the comparisons that `run.py` recorded.

    python studies/compare/report.py

Reads `results/*.parquet`, writes `results/report.md` and one forest plot per comparison. Parts
that are not there yet are left out and named.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pyarrow.parquet as pq
import run
from run import material

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]
COLOURS = {"better than random": "tab:green", "worse than random": "tab:red"}


def main() -> None:
    """Write everything."""
    parts = [part.name for part in run.parts(())]
    found = {
        name: [named(row) for row in pq.read_table(RESULTS / f"{name}.parquet").to_pylist()]
        for name in parts
        if (RESULTS / f"{name}.parquet").exists()
    }
    lines = ["# Strategies against random: results", ""]
    missing = [name for name in parts if name not in found]
    if missing:
        lines += [f"Not recorded yet: {', '.join(missing)}.", ""]
    lines += summary(found)
    for name, rows in found.items():
        lines += [f"## {name}", "", f"![forest plot]({name}.png)", ""]
        for one in dict.fromkeys(row["eval"] for row in rows):
            lines += [f"### {one}", "", *table([row for row in rows if row["eval"] == one])]
        plot(name, rows)
    (RESULTS / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def named(row: Row) -> Row:
    """Give the one rule that was named by its file a name to read."""
    return row | {
        "strategy": row["strategy"].replace(f"rule:{material.UNGATED}", "rule without its gates")
    }


def summary(found: dict[str, list[Row]]) -> list[str]:
    """In how many eval sets each strategy did better and worse, over all comparisons."""
    names = dict.fromkeys(row["strategy"] for rows in found.values() for row in rows)
    names.pop("random", None)
    lines = [
        "## In how many eval sets", "",
        "better + / worse − than random, of those measured; the rest is no better than random.", "",
        "| strategy | " + " | ".join(found) + " |",
        "|---" * (len(found) + 1) + "|",
    ]  # fmt: skip
    for name in names:
        cells = []
        for rows in found.values():
            own = [row["verdict"] for row in rows if row["strategy"] == name]
            better, worse = (own.count(f"{one} than random") for one in ("better", "worse"))
            cells.append(f"+{better} −{worse} of {len(own)}" if own else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def table(rows: Sequence[Row]) -> list[str]:
    """One eval set of one comparison, lowest loss first."""
    lines = [
        "| strategy | loss | to random | 95 % interval | p (Holm) | worth | tokens trained "
        "| seconds to choose | verdict |",
        "|---" * 9 + "|",
    ]
    for row in sorted(rows, key=lambda row: row["loss"]):
        gap, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
        cells = [
            row["strategy"],
            f"{row['loss']:.4f}",
            "" if gap is None else f"{gap:+.4f}",
            "" if gap is None else f"{low:+.4f} … {high:+.4f}",
            "" if row["p_corrected"] is None else f"{row['p_corrected']:.3f}",
            row["multiplier_text"] or "",
            f"{row['tokens_trained']:,.0f}",
            f"{row['select_seconds']:,.0f}",
            row["verdict"],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def plot(name: str, rows: Sequence[Row]) -> None:
    """Differences to random with their intervals, one panel per eval set."""
    evals = list(dict.fromkeys(row["eval"] for row in rows))
    shown = [row for row in rows if row["difference"] is not None and row["strategy"] != "base"]
    order = sorted(
        {row["strategy"] for row in shown},
        key=lambda one: sum(row["difference"] for row in shown if row["strategy"] == one),
        reverse=True,
    )
    figure, axes = plt.subplots(
        1, len(evals), figsize=(3.4 * len(evals), 0.32 * len(order) + 1.2),
        sharey=True, constrained_layout=True, squeeze=False,
    )  # fmt: skip
    for place, one in zip(axes[0], evals, strict=True):
        place.axvline(0, color="black", linewidth=0.8)
        for row in shown:
            if row["eval"] == one:
                colour = COLOURS.get(row["verdict"], "gray")
                y = order.index(row["strategy"])
                place.plot([row["difference_low"], row["difference_high"]], [y, y], color=colour)
                place.plot(row["difference"], y, "o", color=colour)
        place.set_title(one, fontsize=10)
        place.set_xlabel("loss to random")
        place.locator_params(axis="x", nbins=5)  # so that no two labels touch
        place.set_yticks(range(len(order)), order)
    figure.savefig(RESULTS / f"{name}.png", dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
