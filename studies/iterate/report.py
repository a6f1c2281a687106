"""Tables and plots of what `run.py` recorded.

    python studies/iterate/report.py

Reads `results/`, writes `results/report.md` and plots. Parts that are not there are named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow.parquet as pq

from instructmine.comparison import FULL
from instructmine.intervals import seeded_difference

RESULTS = Path(__file__).parent / "results"
POOLS = ("mixture", "alpaca")
Row = dict[str, Any]


def main() -> None:
    """Write everything."""
    lines = ["# IterSelectTune with the starter models: results", ""]
    for pool in POOLS:
        path = RESULTS / f"{pool}-found.json"
        if path.exists():
            lines += found(pool, json.loads(path.read_text(encoding="utf-8")))
        else:
            lines += [f"Not recorded yet: {pool}-found.", ""]
        table = RESULTS / f"{pool}-trained.parquet"
        if table.exists():
            prompts = pq.read_table(table.with_suffix(".prompts.parquet"))
            lines += trained(pool, pq.read_table(table).to_pylist(), prompts.to_pylist())
        else:
            lines += [f"Not recorded yet: {pool}-trained.", ""]
    (RESULTS / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def found(pool: str, rows: Sequence[Row]) -> list[str]:
    """Hard instructions found up to each round, and how well the last classifier knows them."""
    lines = [f"## {pool}: hard instructions found", "",
             "Mean over seeds, of all found up to a round; the first batch is random for all.",
             ""]  # fmt: skip
    curves = {}
    for judge in unique(rows, "judge"):
        asked = [row for row in rows if row["judge"] == judge]
        for arm in unique(asked, "arm"):
            curves[judge, arm] = curve([row for row in asked if row["arm"] == arm])
        lines += [f"Judge: {judge}.", "", *found_table(asked), ""]
    plot_found(pool, curves)
    return [*lines, f"![found](found-{pool}.png)", ""]


def found_table(rows: Sequence[Row]) -> list[str]:
    """One judge's arms."""
    arms = {name: [one for one in rows if one["arm"] == name] for name in unique(rows, "arm")}
    curves = {name: curve(own)[0] for name, own in arms.items()}
    last = max(map(len, curves.values()))
    header = ("arm", *(f"round {n}" for n in range(last)), "all", "times random, rounds 1-2",
              "of labels, rounds 1-2", "held out: hard", "AUROC", "coverage")  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, own in arms.items():
        mean = curves[name]
        end = [row for row in own if row["round"] == len(mean) - 1]
        cells = [f"{value:.0f}" for value in mean] + [""] * (last - len(mean)) + [f"{mean[-1]:.0f}"]
        cells += ["", ""] if len(mean) < 3 else gain(mean, curves["random batches"], own)
        cells += [average(end, "prevalence"), average(end, "auroc")]
        cells.append(f"{np.mean([row['coverage'] for row in end]):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def gain(mean: np.ndarray, random: np.ndarray, own: Sequence[Row]) -> list[str]:
    """What rounds 1 and 2 found, which the classifier had a say in: against random, of all."""
    found = mean[2] - mean[0]
    seeds = len({row["seed"] for row in own})
    labels = sum(row["rows"] - row["unlabelled"] for row in own if row["round"] in (1, 2)) / seeds
    return [f"{found / (random[2] - random[0]):.2f}", f"{found / labels:.0%}"]


def unique(rows: Sequence[Row], name: str) -> list[str]:
    """Values of a field, in the order they come."""
    return list(dict.fromkeys(row[name] for row in rows))


def curve(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd over seeds of the hard ones found so far, by round."""
    seeds = sorted({row["seed"] for row in rows})
    found = np.array([[r["hard_so_far"] for r in rows if r["seed"] == seed] for seed in seeds])
    return found.mean(axis=0), found.std(axis=0, ddof=1)


def average(rows: Sequence[Row], name: str) -> str:
    """Mean of a fact about the hold-out, where it is known."""
    values = [row["holdout"][name] for row in rows if row["holdout"]]
    values = [value for value in values if value is not None]
    return f"{np.mean(values):.3f}" if values else ""


def plot_found(pool: str, curves: Mapping[tuple[str, str], tuple[np.ndarray, np.ndarray]]) -> None:
    """Hard instructions found against rounds, one panel per judge."""
    judges = list(dict.fromkeys(judge for judge, _ in curves))
    figure, panels = plt.subplots(
        1, len(judges), figsize=(5.2 * len(judges), 4.2), constrained_layout=True, squeeze=False
    )
    for axes, judge in zip(panels[0], judges, strict=True):
        for (own, arm), (mean, sd) in curves.items():
            if own == judge and len(mean) > 2:
                axes.errorbar(range(len(mean)), mean, yerr=sd, marker="o", capsize=2, label=arm)
        axes.set_xlabel("round")
        axes.set_ylabel("hard instructions found so far")
        axes.set_title(f"{pool}, judge: {judge}")
        axes.legend(fontsize=8)
    figure.savefig(RESULTS / f"found-{pool}.png", dpi=110)
    plt.close(figure)


def trained(pool: str, rows: Sequence[Row], prompts: Sequence[Row]) -> list[str]:
    """Losses after training on shares of the pool, against random and against the full pool."""
    lines = [f"## {pool}: trained on the choice", ""]
    for one in unique(rows, "eval"):
        lines += [f"### {one}", "",
                  "| rows | strategy | loss | to random | 95 % interval | verdict "
                  "| to the full pool | 95 % interval |",
                  "|---|---|---|---|---|---|---|---|"]  # fmt: skip
        full = losses(prompts, one, FULL, None)
        for row in rows:
            if row["eval"] != one:
                continue
            strategy = row["strategy"]
            gap, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
            cells = [f"{row['size']:,}", called(strategy), f"{row['loss']:.4f}"]
            cells += [*between(gap, low, high), row["verdict"]]
            if strategy == FULL:
                cells += between(None, None, None)
            else:
                own = seeded_difference(losses(prompts, one, strategy, row["size"]), full)
                cells += between(own.value, own.low, own.high)
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def losses(prompts: Sequence[Row], name: str, strategy: str, size: int | None) -> np.ndarray:
    """Losses of one strategy on one eval set: (seeds, prompts)."""
    own = [
        row
        for row in prompts
        if row["eval"] == name and row["strategy"] == strategy and size in (row["size"], None)
    ]
    seeds, places = unique(own, "seed"), unique(own, "place")
    found = {(row["seed"], row["place"]): row["loss"] for row in own}
    return np.array([[found[seed, place] for place in places] for seed in seeds])


def called(strategy: str) -> str:
    """Return the name of a strategy; the choice of `iterate` comes as a file."""
    return "hard" if strategy.endswith(".jsonl") else strategy


def between(gap: float | None, low: float | None, high: float | None) -> list[str]:
    """Write a difference and its interval, or nothing."""
    return ["", ""] if gap is None else [f"{gap:+.4f}", f"{low:+.4f} … {high:+.4f}"]


if __name__ == "__main__":
    main()
