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
from matplotlib.ticker import MaxNLocator

from instructmine.comparison import FULL
from instructmine.intervals import seeded_difference

RESULTS = Path(__file__).parent / "results"
POOLS = ("mixture", "alpaca")
Row = dict[str, Any]
BySeed = dict[int, np.ndarray]  # seed → a value per round


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
        lines += variants(pool)
    (RESULTS / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def found(pool: str, rows: Sequence[Row]) -> list[str]:
    """Hard instructions found up to each round, and how well the last classifier knows them."""
    lines = [f"## {pool}: hard instructions found", "",
             "Mean over seeds, of all found up to a round; the first batch is random for all. "
             "Times random: found by the end of round 2, by what random batches had found then "
             "with the same seed, and the range over seeds; then rounds 1 and 2 alone, in which "
             "the classifier had a say. After the last round: accuracy on its fresh batch; "
             "accuracy and AUROC on the hold-out.",
             ""]  # fmt: skip
    curves = {}
    for judge in unique(rows, "judge"):
        asked = [row for row in rows if row["judge"] == judge]
        for arm in unique(asked, "arm"):
            own = by_seed([row for row in asked if row["arm"] == arm])
            curves[judge, arm] = np.array(list(own.values()))
        lines += [f"Judge: {judge}.", "", *found_table(asked), ""]
    plot_found(pool, curves)
    return [*lines, f"![found](found-{pool}.png)", ""]


def found_table(rows: Sequence[Row]) -> list[str]:
    """One judge's arms."""
    arms = {name: [one for one in rows if one["arm"] == name] for name in unique(rows, "arm")}
    curves = {name: by_seed(own) for name, own in arms.items()}
    last = max(len(one) for own in curves.values() for one in own.values())
    header = ("arm", "seeds", *(f"round {n}" for n in range(last)), "times random, to round 2",
              "rounds 1-2 alone", "of labels, rounds 1-2", "hard, held out", "accuracy, fresh",
              "accuracy, held out", "AUROC", "coverage")  # fmt: skip
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, own in arms.items():
        mean = np.mean(list(curves[name].values()), axis=0)
        end = [row for row in own if row["round"] == len(mean) - 1]
        cells = [str(len(curves[name]))]
        shown = mean if len(mean) == last else mean[-1:]  # its rounds are larger: the end alone
        cells += [""] * (last - len(shown)) + [f"{value:.0f}" for value in shown]
        cells += [""] * 3 if len(mean) < 3 else gain(curves[name], curves["random batches"], own)
        cells += [average([row["holdout"] for row in end], "prevalence"), average(end, "accuracy")]
        cells += [average([row["holdout"] for row in end], name) for name in ("accuracy", "auroc")]
        lines.append(f"| {name} | " + " | ".join([*cells, average(end, "coverage")]) + " |")
    return lines


def gain(curve: BySeed, random: BySeed, own: Sequence[Row]) -> list[str]:
    """What was found to round 2, and in 1 and 2: against random batches, and of all labels."""
    pairs = [(one, random[seed]) for seed, one in curve.items() if seed in random]
    labels = sum(row["rows"] - row["unlabelled"] for row in own if row["round"] in (1, 2))
    later = sum(one[2] - one[0] for one in curve.values())
    return [
        ranged([one[2] / other[2] for one, other in pairs]),
        ranged([(one[2] - one[0]) / (other[2] - other[0]) for one, other in pairs]),
        f"{later / labels:.0%}",
    ]


def ranged(values: Sequence[float]) -> str:
    """Write a mean and the range."""
    if not values:
        return ""
    return f"{np.mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def by_seed(rows: Sequence[Row]) -> BySeed:
    """Hard ones found so far, by round, of each seed."""
    seeds = sorted({row["seed"] for row in rows})
    return {
        seed: np.array([row["hard_so_far"] for row in rows if row["seed"] == seed])
        for seed in seeds
    }


def unique(rows: Sequence[Row], name: str) -> list[str]:
    """Values of a field, in the order they come."""
    return list(dict.fromkeys(row[name] for row in rows))


def average(rows: Sequence[Row], name: str) -> str:
    """Mean of a fact, where it is known."""
    values = [row[name] for row in rows if row and row[name] is not None]
    return f"{np.mean(values):.2f}" if values else ""


def plot_found(pool: str, curves: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Hard instructions found in each round, one panel per judge; bars: least and most of seeds."""
    judges = list(dict.fromkeys(judge for judge, _ in curves))
    arms = list(dict.fromkeys(arm for _, arm in curves))
    figure, panels = plt.subplots(
        1, len(judges), figsize=(5.6 * len(judges), 4.4), constrained_layout=True, squeeze=False
    )
    for axes, judge in zip(panels[0], judges, strict=True):
        for (own, arm), so_far in curves.items():
            found = np.diff(so_far, axis=1, prepend=0)
            mean, rounds = found.mean(axis=0), np.arange(found.shape[1])
            if own == judge and len(mean) > 2:
                place = arms.index(arm)
                axes.errorbar(
                    rounds + 0.03 * (place - len(arms) / 2), mean,
                    yerr=[mean - found.min(axis=0), found.max(axis=0) - mean],
                    color=f"C{place}", marker="o", capsize=2, label=arm,
                )  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("round")
        axes.set_ylabel("hard instructions in the batch")
        axes.set_title(f"{pool}, judge: {judge}")
        axes.legend(fontsize=8, loc="lower right")
    figure.savefig(RESULTS / f"found-{pool}.png", dpi=110)
    plt.close(figure)


def trained(pool: str, rows: Sequence[Row], prompts: Sequence[Row]) -> list[str]:
    """Losses after training on shares of the pool, against random and against the full pool."""
    lines = [f"## {pool}: trained on the choice", "",
             "Loss in nats per token, means of seeds. Verdicts are corrected for the number of "
             "comparisons, the intervals are not. Tokens: of the rows, mean of seeds.", "",
             f"![trained](trained-{pool}.png)", "", *sources(rows)]  # fmt: skip
    for one in unique(rows, "eval"):
        whole = next(row for row in rows if row["eval"] == one and row["strategy"] == FULL)
        lines += [f"### {one}", "",
                  f"The full pool, {whole['rows']:,.0f} rows of {whole['tokens']:,.0f} tokens: "
                  f"{whole['loss']:.4f}.", ""]  # fmt: skip
        lines += beside_full([row for row in rows if row["eval"] == one], prompts, prompts)
    plot_trained(pool, rows)
    return lines


def sources(rows: Sequence[Row]) -> list[str]:
    """Shares of the sources in what each way of choosing took, at the largest size."""
    names = [name for name in rows[0] if name.startswith("source:")]
    if len(names) < 2:
        return []
    header = ["rows", "strategy", *(name.removeprefix("source:") for name in names)]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in rows[-len(unique(rows, "strategy")) :]:
        cells = [f"{row['rows']:,.0f}", called(row["strategy"])]
        lines.append("| " + " | ".join([*cells, *(f"{row[name]:.0%}" for name in names)]) + " |")
    return [*lines, ""]


def variants(pool: str) -> list[str]:
    """Hard sets that were asked for in other ways, against random and against the full pool."""
    table, whole = (RESULTS / f"{pool}-{name}.parquet" for name in ("variants", "trained"))
    if not table.exists() or not whole.exists():
        return [f"Not recorded yet: {pool}-variants.", ""]
    rows = pq.read_table(table).to_pylist()
    prompts, full = (
        pq.read_table(one.with_suffix(".prompts.parquet")).to_pylist() for one in (table, whole)
    )
    lines = [f"## {pool}: other hard sets", "",
             "clear: of the judge that calls clear wins only; gated: of rows with a reward above 0 "
             "and an MTLD above 20; random-gated: drawn from such rows.", "",
             *sources(rows)]  # fmt: skip
    for one in unique(rows, "eval"):
        own = [row for row in rows if row["eval"] == one]
        lines += [f"### {one}", "", *beside_full(own, prompts, full)]
    return lines


def beside_full(rows: Sequence[Row], prompts: Sequence[Row], full: Sequence[Row]) -> list[str]:
    """One eval set's table: losses against random, and against the full pool."""
    lines = ["| rows | tokens | strategy | loss | to random | 95 % interval | verdict "
             "| to the full pool | 95 % interval |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        name, strategy = row["eval"], row["strategy"]
        if strategy == FULL:
            continue
        gap, low, high = (row[f"difference{end}"] for end in ("", "_low", "_high"))
        cells = [f"{row['size']:,}", f"{row['tokens']:,.0f}", called(strategy)]
        cells += [f"{row['loss']:.4f}", *between(gap, low, high), row["verdict"]]
        own = losses(prompts, name, strategy, row["size"])
        found = seeded_difference(own, losses(full, name, FULL, None))
        cells += between(found.value, found.low, found.high)
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def plot_trained(pool: str, rows: Sequence[Row]) -> None:
    """Loss by rows trained on, one panel per eval set; the full pool as a line. Bars: 95 %."""
    evals = unique(rows, "eval")
    strategies = [name for name in unique(rows, "strategy") if name != FULL]
    figure, panels = plt.subplots(
        1, len(evals), figsize=(3.6 * len(evals), 3.8), constrained_layout=True, squeeze=False
    )
    for axes, name in zip(panels[0], evals, strict=True):
        for place, strategy in enumerate(strategies):
            own = [row for row in rows if row["eval"] == name and row["strategy"] == strategy]
            loss = np.array([row["loss"] for row in own])
            ends = np.array([[row["loss_low"], row["loss_high"]] for row in own])
            axes.errorbar(
                [row["size"] * (1 + 0.02 * (place - 1)) for row in own], loss,
                yerr=[loss - ends[:, 0], ends[:, 1] - loss],
                color=f"C{place}", marker="o", capsize=2, label=called(strategy),
            )  # fmt: skip
        whole = next(row for row in rows if row["eval"] == name and row["strategy"] == FULL)
        axes.axhline(whole["loss"], color="black", linestyle="--", label="full pool")
        axes.set_xlabel("rows")
        axes.set_title(f"{pool}: {name}", fontsize=10)
    panels[0][0].set_ylabel("held-out loss (nats per token)")
    lines, names = panels[0][0].get_legend_handles_labels()
    figure.legend(lines, names, fontsize=8, loc="outside right upper")
    figure.savefig(RESULTS / f"trained-{pool}.png", dpi=110)
    plt.close(figure)


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
    return Path(strategy).stem.split("-", 1)[1] if strategy.endswith(".jsonl") else strategy


def between(gap: float | None, low: float | None, high: float | None) -> list[str]:
    """Write a difference and its interval, or nothing."""
    return ["", ""] if gap is None else [f"{gap:+.4f}", f"{low:+.4f} … {high:+.4f}"]


if __name__ == "__main__":
    main()
