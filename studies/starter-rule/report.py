"""Tables and plots of the study, from the trials that `run.py` recorded.

    python studies/starter-rule/report.py

Reads `results/*.parquet`, fits rules, and writes `results/report.md`, `results/*.png` and
`results/rules/`. Parts that are not there yet are left out and named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import rankdata, spearmanr

import instructmine as im
from instructmine.errors import InstructmineError
from instructmine.rules.fit import Fit
from instructmine.rules.linear import LinearRule

RESULTS = Path(__file__).parent / "results"
PAPERS = (
    "input_length", "output_length", "reward", "perplexity", "mtld", "knn6",
    "naturalness", "coherence", "understandability",
)  # fmt: skip
PAPER_SIGNS = {  # univariate, InstructMining v1 (arXiv 2307.06290): + raises the loss
    "perplexity": "+", "mtld": "+", "naturalness": "+", "understandability": "+",
    "reward": "−", "coherence": "−",
}  # fmt: skip
TARGET, LOGGED = "target_similarity", "log_output_length"
CANDIDATES = {  # name → the columns that a fit may choose from
    "papers": PAPERS,
    "target": (*PAPERS, TARGET),
    "log": (*PAPERS, LOGGED),
}
Key = tuple[str, str]  # part, candidates
PARTS = ("mixture", "stratified", "unseen", "faulty", "neox-mixture", "neox-stratified")
TOGETHER = {
    "both": ("mixture", "stratified"),
    "mixture+faulty": ("mixture", "faulty"),
    "all": ("mixture", "stratified", "faulty"),
    "neox-both": ("neox-mixture", "neox-stratified"),
}
GATED = ("clean", "broken")  # pools that `gate.py` chooses from
RIVALS = ("reward", "output_length", "mtld", TARGET)  # the lead is over the first two
REPORTED = ("loss:report", "loss:mtbench")


def main() -> None:
    """Write everything."""
    tables = {
        part: im.Trials.read(RESULTS / f"{part}.parquet")
        for part in PARTS
        if (RESULTS / f"{part}.parquet").exists()
    }
    for name, parts in TOGETHER.items():
        if all(part in tables for part in parts):
            tables[name] = together([tables[part] for part in parts])
    (RESULTS / "rules").mkdir(exist_ok=True)
    fits = {
        (part, candidates): fitted(part, table, candidates)
        for part, table in tables.items()
        if part != "unseen"
        for candidates in CANDIDATES
    }
    lines = ["# Which examples lower the loss of the starter LM: results", ""]
    missing = [part for part in PARTS if part not in tables]
    if missing:
        lines += [f"Not recorded yet: {', '.join(missing)}.", ""]
    lines += losses(tables) + signs(fits) + rules(fits) + sources(fits)
    if "unseen" in tables:
        lines += carried_over(fits, tables["unseen"]) + other_evals(fits, tables["unseen"])
    if "neox-mixture" in tables:
        lines += across_models(tables, fits)
    lines += gates()
    (RESULTS / "report.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    plot_signs(fits)
    plot_curves(fits)


def gates() -> list[str]:
    """What the rule's choice comes to among the rows that pass gates."""
    files = [path for name in GATED if (path := RESULTS / f"gate-{name}.parquet").exists()]
    lines = [
        "## The gates", "",
        "Loss of the fit-eval after training on 256 rows that the rule `all (log)` chooses among "
        "those that pass the gates, three seeds; the difference to random rows with its 95 % "
        "interval, and how many of the rows are broken ones.", "",
        "| pool | gates | loss | difference to random | broken |",
        "|---" * 5 + "|",
    ]  # fmt: skip
    for path in files:
        pool = path.stem.removeprefix("gate-")
        for row in pq.read_table(path).to_pylist():
            passed = Path(row["strategy"]).name.removesuffix(".decisions.parquet")
            broken = row.get("source:broken")
            cells = [pool, passed, f"{row['loss']:.3f}", ""]
            if row["strategy"] != "random":
                low, high = row["difference_low"], row["difference_high"]
                cells[-1] = f"{row['difference']:+.3f} ({low:+.3f} to {high:+.3f})"
            cells.append("" if broken is None else f"{broken:.0%}")
            lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""] if files else []


def together(tables: Sequence[im.Trials]) -> im.Trials:
    """Return the trials of several parts as one table, with names of their own."""
    parts = []
    for number, one in enumerate(tables):
        place = one.table.column_names.index("trial")
        names = pa.array(one.column("trial").astype(np.int64) + 1000 * number)
        parts.append(one.table.set_column(place, "trial", names))
    table = pa.concat_tables(parts, promote_options="permissive")
    for place, name in enumerate(table.column_names):
        if name.startswith("source:"):  # a source that a part did not have
            table = table.set_column(place, name, table.column(name).fill_null(0.0))
    return im.Trials(table, recipes=tables[0].recipes, about=tables[0].about)


def fitted(part: str, table: im.Trials, candidates: str) -> Fit | None:
    """Fit a rule on one part, from some candidates."""
    name = part if candidates == "papers" else f"{part}-{candidates}"
    try:
        return im.fit(
            table,
            indicators=CANDIDATES[candidates],
            out=RESULTS / "rules" / f"{name}.json",
            name=name,
        )
    except InstructmineError as error:
        print(f"{name}: {error}")
        return None


def losses(tables: Mapping[str, im.Trials]) -> list[str]:
    """How much there is to explain."""
    rows = []
    for part, table in tables.items():
        values = table.column("log_loss")
        known = values[~np.isnan(values)]
        noise = table.seed_noise()
        ceiling = None if noise is None else 1 - noise**2 / known.var(ddof=1)
        rows.append((part, len(known), known.mean(), known.std(ddof=1), noise, ceiling))
    return [
        "## Losses", "",
        "Log loss of the fit-eval. The noise ceiling is the R² of a perfect rule, given the noise "
        "between seeds.", "",
        *markdown(("part", "trials", "mean", "sd", "sd of seeds", "noise ceiling"), rows),
    ]  # fmt: skip


def signs(fits: Mapping[Key, Fit | None]) -> list[str]:
    """Each indicator alone: the slope's sign and Spearman, beside the paper's sign."""
    parts = list(dict.fromkeys(part for part, _ in fits))
    rows: list[Sequence[Any]] = []
    for name in (*PAPERS, LOGGED, TARGET):
        alone = [univariate(fits, part).get(name) for part in parts]
        cells = [effect(one) if one else None for one in alone]
        rows.append((f"`{name}`", PAPER_SIGNS.get(name, ""), *cells))
    return [
        "## Each indicator alone", "",
        "Sign of the slope on log loss (0: the 95 % interval holds zero) and Spearman's ρ. "
        "+ raises the loss.", "",
        *markdown(("indicator", "paper (v1)", *parts), rows),
    ]  # fmt: skip


def univariate(fits: Mapping[Key, Fit | None], part: str) -> dict[str, Any]:
    """Each column of a part by itself, from whichever fit had it among its candidates."""
    found = [fit for (name, _), fit in fits.items() if name == part and fit is not None]
    return {one.coefficient.name: one for fit in found for one in fit.analysis.univariate}


def effect(one: Any) -> str:  # noqa: ANN401
    """Sign and rank correlation of a univariate fit."""
    slope = one.coefficient
    sign = "0" if slope.low <= 0 <= slope.high else "+" if slope.value > 0 else "−"
    return f"{sign} {one.spearman:+.2f}"


def rules(fits: Mapping[Key, Fit | None]) -> list[str]:
    """The chosen rules and how well they predict held-out trials."""
    rows = []
    for (part, candidates), found in fits.items():
        if found is None:
            continue
        seen = found.evidence
        rows.append(
            (
                part, candidates, formula(found.candidate), seen["r2"],
                seen["nested_cv_r2"], seen["noise_ceiling_r2"],
                seen["other_models_cv_r2"]["ridge"],
                seen["other_models_cv_r2"]["gradient_boosting"], seen["permutation"]["p"],
                verdict(found),
            )
        )  # fmt: skip
    header = (
        "fitted on", "candidates", "rule (log loss per unit)", "R²", "nested CV-R²", "ceiling",
        "ridge", "boosting", "permutation p", "verdict",
    )  # fmt: skip
    said = (
        "Aim: nested CV-R² of .6 or more. Candidates: the papers' nine; these and similarity to a "
        "target; these and the logarithm of the response's length."
    )
    return ["## Rules", "", said, "", *markdown(header, rows)]


def verdict(found: Fit) -> str:
    """What `fit` says."""
    if not found.usable:
        return "no usable rule"
    return "knows only the source" if found.verdict.source_only else "usable"


def formula(rule: LinearRule) -> str:
    """The coefficients of a rule."""
    return " ".join(f"{value:+.4g}·{name}" for name, value in rule.coefficients.items())


def sources(fits: Mapping[Key, Fit | None]) -> list[str]:
    """Each source left out in turn."""
    parts = [key for key, found in fits.items() if found and found.analysis.left_out]
    names = dict.fromkeys(one.source for key in parts for one in fits[key].analysis.left_out)  # type: ignore[union-attr]
    rows: list[Sequence[Any]] = []
    for part, candidates in parts:
        found = fits[part, candidates]
        assert found is not None
        by_name = {one.source: one.spearman for one in found.analysis.left_out}
        known = [value for value in by_name.values() if value is not None]
        mean = float(np.mean(known)) if known else None
        rows.append((part, candidates, *(by_name.get(one) for one in names), mean))
    return [
        "## Each source left out", "",
        "Spearman of predicted and actual log loss: chosen and fitted where a source is rare, "
        "tested where it is common. Aim: .6 or more.", "",
        *markdown(("fitted on", "candidates", *names, "mean"), rows),
    ]  # fmt: skip


def carried_over(fits: Mapping[Key, Fit | None], unseen: im.Trials) -> list[str]:
    """Predicted against actual on subsets of sources that no fit saw, beside single indicators."""
    actual = unseen.column("log_loss")
    rows: list[Sequence[Any]] = []
    drawn = {}
    for key, found in fits.items():
        if found is None or key[0].startswith("neox"):
            continue
        predicted = predictions(found.candidate, unseen)
        offset = float(np.mean(predicted - actual))
        ahead = [shown_lead(predicted, -unseen.column(name), actual) for name in RIVALS[:2]]
        rows.append((rule_name(*key), *agreement(predicted, actual), *ahead, offset))
        if key[0] in ("mixture", "stratified", "all"):
            drawn[rule_name(*key)] = predicted
    for name in RIVALS:
        sign = -1.0  # more reward, length or similarity is held to be better
        own = agreement(sign * unseen.column(name), actual)
        rows.append((f"`{name}` alone", *own, None, None, None))
    plot_unseen(drawn, actual)
    return [
        "## Sources that no fit saw", "",
        f"{len(actual)} subsets of Code-Alpaca, GPTeacher's Toolformer and rasbt's set. Spearman "
        "of predicted and actual log loss, with a 95 % bootstrap interval over subsets; the "
        "interval of its lead over an indicator alone; the mean of predicted minus actual.", "",
        *markdown(
            ("predictor", "Spearman", "low", "high", "over reward", "over length", "offset"), rows
        ),
    ]  # fmt: skip


def rule_name(part: str, candidates: str) -> str:
    """How a fitted rule is called in tables and plots."""
    return f"rule of {part}{f' ({candidates})' if candidates != 'papers' else ''}"


def other_evals(fits: Mapping[Key, Fit | None], unseen: im.Trials) -> list[str]:
    """The same predictions against losses on evals that were never fitted on."""
    rows: list[Sequence[Any]] = []
    known = [name for name in REPORTED if name in unseen.table.column_names]
    for key, found in fits.items():
        if found is None or key[0].startswith("neox"):
            continue
        predicted = predictions(found.candidate, unseen)
        found_on = [correlation(predicted, unseen.column(name)) for name in known]
        rows.append((rule_name(*key), *found_on))
    for name in RIVALS:
        found_on = [correlation(-unseen.column(name), unseen.column(one)) for one in known]
        rows.append((f"`{name}` alone", *found_on))
    return [
        "### Other evals", "",
        "Spearman on the same subsets, with losses on evals that nothing was fitted on.", "",
        *markdown(("predictor", *known), rows),
    ]  # fmt: skip


def across_models(tables: Mapping[str, im.Trials], fits: Mapping[Key, Fit | None]) -> list[str]:
    """Do two architectures agree on which subsets are good, and on the rule?"""
    rows: list[Sequence[Any]] = []
    for part in ("mixture", "stratified"):
        if f"neox-{part}" not in tables:
            continue
        ours, other = by_subset(tables[part]), by_subset(tables[f"neox-{part}"])
        shared = sorted(ours.keys() & other.keys())
        a, b = (np.array([one[key] for key in shared]) for one in (ours, other))
        moved = [transfer(fits[part, one], tables[f"neox-{part}"]) for one in ("papers", "log")]
        both = agree(fits[part, "log"], fits[f"neox-{part}", "log"], tables[f"neox-{part}"])
        rows.append((part, len(shared), correlation(a, b), *moved, both))
        plot_models(part, a, b)
    return [
        "## A second architecture", "",
        "Spearman between the log losses that the Llama and the GPT-NeoX are left with by the same "
        "subsets, between the Llama's rule and the GPT-NeoX's losses, and between what the rules "
        "of both (with log length) predict.", "",
        *markdown(
            ("design", "subsets", "losses", "the Llama's rule", "its rule (log)", "both rules"),
            rows,
        ),
    ]  # fmt: skip


def agree(first: Fit | None, second: Fit | None, table: im.Trials) -> float | None:
    """How alike two models' rules rank the same subsets."""
    if first is None or second is None:
        return None
    return correlation(predictions(first.candidate, table), predictions(second.candidate, table))


def transfer(rule: Fit | None, other: im.Trials) -> float | None:
    """How one model's rule ranks another's losses."""
    if rule is None:
        return None
    return correlation(predictions(rule.candidate, other), other.column("log_loss"))


def by_subset(table: im.Trials) -> dict[str, float]:
    """Subset → log loss, its first seed's."""
    out: dict[str, float] = {}
    names = table.table.column("subset").to_pylist()
    for name, value in zip(names, table.column("log_loss"), strict=True):
        if not np.isnan(value):
            out.setdefault(name, float(value))
    return out


def predictions(rule: LinearRule, table: im.Trials) -> np.ndarray:
    """Predicted log loss of every trial."""
    slopes = np.array(list(rule.coefficients.values()))
    return np.asarray(rule.intercept + table.matrix(rule.columns) @ slopes)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation over trials that have both."""
    known = ~(np.isnan(first) | np.isnan(second))
    return float(spearmanr(first[known], second[known]).statistic)


def agreement(first: np.ndarray, second: np.ndarray) -> tuple[float, ...]:
    """Spearman with its bootstrap interval over trials."""
    return correlation(first, second), *interval(resampled(first, second))


def shown_lead(first: np.ndarray, other: np.ndarray, actual: np.ndarray) -> str:
    """The interval of how far one predictor's Spearman lies above another's on the same trials."""
    low, high = interval(resampled(first, actual) - resampled(other, actual))
    return f"{low:+.2f} to {high:+.2f}"


def resampled(first: np.ndarray, second: np.ndarray, resamples: int = 2000) -> np.ndarray:
    """Spearman of trials drawn with replacement; the same draws at every call."""
    known = ~(np.isnan(first) | np.isnan(second))
    a, b = first[known], second[known]
    draws = np.random.default_rng(0).integers(0, len(a), (resamples, len(a)))
    return np.array([np.corrcoef(rankdata(a[one]), rankdata(b[one]))[0, 1] for one in draws])


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    return float(np.nanquantile(values, 0.025)), float(np.nanquantile(values, 0.975))


def markdown(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    body = [[cell(value) for value in row] for row in rows]
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in body),
        "",
    ]


def cell(value: Any) -> str:  # noqa: ANN401
    """One cell: numbers with three digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def plot_signs(fits: Mapping[Key, Fit | None]) -> None:
    """Spearman of each indicator alone, one colour per part."""
    known = dict.fromkeys(part for part, _ in fits)
    names = (*PAPERS, LOGGED, TARGET)
    figure, axes = plt.subplots(figsize=(8, 4.5), constrained_layout=True)
    width = 0.8 / max(len(known), 1)
    for number, part in enumerate(known):
        values = {name: one.spearman for name, one in univariate(fits, part).items()}
        places = np.arange(len(names)) + (number - (len(known) - 1) / 2) * width
        axes.barh(places, [values.get(name, np.nan) for name in names], width, label=part)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("Spearman with log loss (negative: more of it, lower loss)")
    axes.legend()
    save(figure, "indicators")


def plot_curves(fits: Mapping[Key, Fit | None]) -> None:
    """CV-R² against the number of trials."""
    figure, axes = plt.subplots(figsize=(6, 4), constrained_layout=True)
    for (part, candidates), found in fits.items():
        if found is None or candidates == "target":
            continue
        curve = found.analysis.learning_curve
        style = "--" if candidates == "log" else "-"
        axes.plot(curve.trials, curve.cv_r2, style, marker="o", label=rule_name(part, candidates))
    axes.axhline(0.6, color="gray", linestyle=":", label="aim")
    axes.set_xlabel("trials")
    axes.set_ylabel("CV-R², columns chosen anew")
    axes.legend()
    save(figure, "learning-curve")


def plot_unseen(drawn: Mapping[str, np.ndarray], actual: np.ndarray) -> None:
    """Predicted against actual on unseen sources."""
    figure, axes = plt.subplots(
        1, len(drawn), figsize=(3.2 * len(drawn), 3.4), sharey=True, constrained_layout=True,
        squeeze=False,
    )  # fmt: skip
    for place, (name, predicted) in zip(axes[0], drawn.items(), strict=True):
        place.scatter(predicted, actual, s=14)
        place.set_title(f"{name}\nρ = {correlation(predicted, actual):.2f}", fontsize=9)
        place.set_xlabel("predicted log loss")
    axes[0][0].set_ylabel("actual log loss")
    save(figure, "unseen")


def plot_models(part: str, ours: np.ndarray, other: np.ndarray) -> None:
    """Losses of the same subsets on two architectures."""
    figure, axes = plt.subplots(figsize=(4, 4), constrained_layout=True)
    axes.scatter(ours, other, s=12)
    axes.set_xlabel("log loss, Llama")
    axes.set_ylabel("log loss, GPT-NeoX")
    axes.set_title(f"{part}: ρ = {correlation(ours, other):.2f}")
    save(figure, f"models-{part}")


def save(figure: Any, name: str) -> None:  # noqa: ANN401
    """Write a plot."""
    figure.savefig(RESULTS / f"{name}.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
