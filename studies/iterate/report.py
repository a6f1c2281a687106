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
            lines += trained(pool, pq.read_table(table).to_pylist())
        else:
            lines += [f"Not recorded yet: {pool}-trained.", ""]
    (RESULTS / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def found(pool: str, rows: Sequence[Row]) -> list[str]:
    """Hard instructions found up to each round, and how well the last classifier knows them."""
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    curves = {arm: curve([row for row in rows if row["arm"] == arm]) for arm in arms}
    last = max(len(one[0]) for one in curves.values())
    header = ("arm", *(f"round {n}" for n in range(last)), "times random, round 2",
              "prevalence held out", "AUROC held out", "coverage")  # fmt: skip
    lines = [
        f"## {pool}: hard instructions found", "",
        "Mean over seeds, of all found up to a round; the first batch is random for all.", "",
        "| " + " | ".join(header) + " |", "|---" * len(header) + "|",
    ]  # fmt: skip
    random = curves["random batches"][0]
    for arm in arms:
        mean, _ = curves[arm]
        own = [row for row in rows if row["arm"] == arm]
        end = [row for row in own if row["round"] == max(one["round"] for one in own)]
        later = slice(1, 3)  # what the classifier had a say in
        gain = np.diff(mean[: later.stop]).sum() / np.diff(random[: later.stop]).sum()
        cells = [f"{value:.0f}" for value in mean] + [""] * (last - len(mean))
        cells.append(f"{gain:.2f}" if len(mean) >= later.stop else "")
        cells += [average(end, "prevalence"), average(end, "auroc")]
        cells.append(f"{np.mean([row['coverage'] for row in end]):.2f}")
        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
    plot_found(pool, curves)
    return [*lines, "", f"![found](found-{pool}.png)", ""]


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


def plot_found(pool: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Hard instructions found against rounds."""
    figure, axes = plt.subplots(figsize=(6.5, 4.2), constrained_layout=True)
    for arm, (mean, sd) in curves.items():
        if len(mean) > 2:
            axes.errorbar(range(len(mean)), mean, yerr=sd, marker="o", capsize=2, label=arm)
    axes.set_xlabel("round")
    axes.set_ylabel("hard instructions found so far")
    axes.set_title(pool)
    axes.legend(fontsize=8)
    figure.savefig(RESULTS / f"found-{pool}.png", dpi=110)
    plt.close(figure)


def trained(pool: str, rows: Sequence[Row]) -> list[str]:
    """Losses after training on shares of the pool."""
    lines = [f"## {pool}: trained on the choice", ""]
    for one in dict.fromkeys(row["eval"] for row in rows):
        lines += [f"### {one}", "",
                  "| rows | strategy | loss | to random | 95 % interval | verdict |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for row in rows:
            if row["eval"] == one:
                gap, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
                interval = "" if gap is None else f"{low:+.4f} … {high:+.4f}"
                name = "hard" if row["strategy"].endswith(".jsonl") else row["strategy"]
                difference = "" if gap is None else f"{gap:+.4f}"
                lines.append(
                    f"| {row['size']:,} | {name} | {row['loss']:.4f} | {difference} | {interval} "
                    f"| {row['verdict']} |"
                )
        lines.append("")
    return lines


if __name__ == "__main__":
    main()
