"""Tables of the study, from what `run.py` recorded.

    python studies/size-curve/report.py

Reads `results/*.json` and writes `results/report.md`; the plots are those of `search`, beside
each part. Parts that are not there yet are left out and named. `--results` reads another folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from instructmine.comparison import RANDOM, Curve

PARTS = ("epochs", "steps", "blend", "blend-flaml")
LEGEND = (
    "Losses ± half the 95 % interval of the difference to the lowest of their curve. p is "
    "corrected for all sizes of the eval set, **bold** below .05. The last column says how many "
    "times as many random rows the same loss takes, on random's curve."
)
Found = dict[str, Any]


def main() -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    folder = parser.parse_args().results
    found = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in PARTS
        if (folder / f"{name}.json").exists()
    }
    lines = ["# The size curve of Alpaca under the starter LM", ""]
    missing = [name for name in PARTS if name not in found]
    if missing:
        lines += [f"Not there yet: {', '.join(missing)}.", ""]
    for name in ("epochs", "steps"):
        if name in found:
            lines += curve(name, found[name])
    lines += searches(found)
    (folder / "report.md").write_text("\n".join(lines), encoding="utf-8")
    print(folder / "report.md")


def curve(name: str, one: Found) -> list[str]:
    """Say what one series measured: a table for every eval set, and the shape of each curve."""
    match = "one epoch" if one["match"] == "epochs" else "fixed steps"
    lines = [f"## {name}: {match}", "", f"![{name}]({name}.png)", ""]
    lines += [LEGEND, ""]
    for eval_name in dict.fromkeys(row["eval"] for row in one["curve"]):
        own = {(r["ranking"], r["size"]): r for r in one["curve"] if r["eval"] == eval_name}
        lines += [f"### On {eval_name}", ""]
        lines += [*against(own, one["against_random"], eval_name), ""]
    lines += [f"- {s['ranking']} on {s['eval']}: {s['explained']}" for s in one["shapes"]]
    return [*lines, ""]


def against(
    own: dict[tuple[str, int], Found], contrasts: Iterable[Found], eval_name: str
) -> list[str]:
    """Return the table of one eval set: each ranking beside random, size by size."""
    drawn = sorted((size, row["loss"]) for (ranking, size), row in own.items() if ranking == RANDOM)
    reference = Curve(*(tuple(values) for values in zip(*drawn, strict=True)))
    found = {(r["ranking"], r["size"]): r for r in contrasts if r["eval"] == eval_name}
    rows = []
    for (ranking, size), row in sorted(own.items(), key=lambda one: (one[0][0], one[0][1])):
        contrast = found.get((ranking, size))
        if ranking == RANDOM or contrast is None or contrast["difference"] is None:
            continue
        p = f"{contrast['p_corrected']:.2g}"
        rows.append(
            [
                ranking,
                f"{size:,}",
                _loss(row),
                _loss(own.get((RANDOM, size))),
                f"{contrast['difference']:+.4f}",
                f"**{p}**" if contrast["p_corrected"] < 0.05 else p,
                str(reference.multiplier(row["loss"], size)),
            ]
        )
    header = ["ranking", "size", "loss", "random", "difference", "p", "random rows"]
    return table(header, rows)


def _loss(row: Found | None) -> str:
    if row is None:
        return ""
    high = row["above_high"]
    half = "" if high is None else f" ± {high - row['above_best']:.4f}"
    return f"{row['loss']:.4f}{half}"


def searches(found: dict[str, Found]) -> list[str]:
    """Hold BlendSearch against the grid: what each found, and what it cost."""
    named = [name for name in ("epochs", "blend", "blend-flaml") if name in found]
    rows = [
        [
            name,
            f"{one['size']:,}",
            f"{one['best']:,}",
            f"{one['best_interval'][0]:,} … {one['best_interval'][1]:,}",
            f"{one['best_loss']:.4f}",
            str(one["cost"]["trials"]),
            f"{one['cost']['rows']:,}",
            f"{one['cost']['seconds'] / 60:,.0f}",
            one["stopped"],
        ]
        for name in named
        for one in [found[name]]
    ]
    header = ["search", "chosen", "lowest", "95 %", "loss", "trainings", "rows", "minutes", "ended"]
    lines = ["## BlendSearch and the grid", "", *table(header, rows), ""]
    if "epochs" in found:
        one = found["epochs"]
        replayed = [
            [r["searcher"], f"{r['trials']:.1f}", f"{r['rows']:,.0f}", f"{r['excess']:.2%}"]
            for r in one["replays"]
        ]
        lines += [f"Searchers {one['replays_are']}:", ""]
        lines += [*table(["searcher", "trainings", "rows", "above lowest"], replayed), ""]
    return lines


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


if __name__ == "__main__":
    main()
