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

PARTS = ("epochs", "steps", "blend", "blend-flaml")
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
    rankings = list(dict.fromkeys(row["ranking"] for row in one["curve"]))
    for eval_name in dict.fromkeys(row["eval"] for row in one["curve"]):
        own = {(r["ranking"], r["size"]): r for r in one["curve"] if r["eval"] == eval_name}
        sizes = sorted({size for _, size in own})
        rows = [[f"{n:,}", *(_loss(own.get((ranking, n))) for ranking in rankings)] for n in sizes]
        lines += [f"Loss on {eval_name} ± half the 95 % interval of the difference to the lowest:"]
        lines += ["", *table(["size", *rankings], rows), ""]
    lines += [f"- {s['ranking']} on {s['eval']}: {s['explained']}" for s in one["shapes"]]
    better = [
        f"- {r['ranking']} at {r['size']:,} on {r['eval']}: {r['difference']:+.4f} to random, "
        f"{r['verdict']} (corrected p {r['p_corrected']:.2g})"
        for r in one["against_random"]
        if r["difference"] is not None
    ]
    return [*lines, "", *better, ""]


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
