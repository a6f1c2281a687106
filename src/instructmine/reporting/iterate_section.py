"""The section about IterSelectTune: hard found per round, hold-out quality, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Section,
    Series,
    Table,
    Text,
)

Found = Mapping[str, Any]


def iterate_section(found: Found, origin: tuple[str, ...]) -> Section:
    """Return the section. found: the part `iterate` of its manifest."""
    rounds = found["rounds"]
    blocks: list[Block] = [_facts(found)]
    if rounds:
        blocks += [_table(rounds), _hard(rounds), *_quality(rounds)]
    unlabelled = sum(found.get("unlabelled", {}).values())
    if unlabelled:
        why = "; ".join(f"{count:,}: {reason}" for reason, count in found["unlabelled"].items())
        blocks.append(Text(f"{unlabelled:,} rows got no label ({why}).", "warning"))
    if empty := found.get("empty_answers"):
        words = f"{empty:,} answers of the base model are empty; they count as hard."
        blocks.append(Text(words, "warning"))
    if cut := found.get("cut_prompts"):
        words = f"{cut:,} prompts are longer than the classifier reads; it saw their beginning."
        blocks.append(Text(words, "warning"))
    return Section("iterate", "IterSelectTune", tuple(blocks), origin)


def _facts(found: Found) -> Facts:
    chosen, usage = found["chosen"], found["usage"]
    cost = "" if found["cost"] is None else f"; cost {found['cost']:,.4g}"
    facts = [
        Fact("hard, by the judge", chosen.get("hard, judge", 0), "the model's answer was worse"),
        Fact("hard, by the classifier", chosen.get("hard, classifier", 0), "no judge was asked"),
        Fact("held out", found["holdout"], "labelled, never learned from"),
        Fact("requests to the judge", usage.get("requests"), f"earlier runs counted{cost}"),
    ]
    if found.get("order_agreement") is not None:
        facts.append(Fact("order agreement", found["order_agreement"], "verdicts alike both ways"))
    return Facts(tuple(facts))


def _table(rounds: Sequence[Found]) -> Table:
    lines = []
    for number, one in enumerate(rounds):
        held = one["holdout"] or {}
        lines.append((
            number, one["rows"], one["hard"], one["hard_so_far"], one["accuracy"],
            held.get("prevalence"), held.get("accuracy"), held.get("auroc"), held.get("auprc"),
            held.get("calibration_error"), one["coverage"],
        ))  # fmt: skip
    return Table(
        "Rounds",
        ("round", "rows", "hard", "hard so far", "accuracy, fresh batch", "hard, held out",
         "accuracy, held out", "AUROC", "AUPRC", "calibration error", "coverage"),
        tuple(lines),
        "hard, held out: the share that accuracy has to be read against; coverage: share of the "
        "pool's clusters that the hard set touches",
    )  # fmt: skip


def _hard(rounds: Sequence[Found]) -> Chart:
    numbers = tuple(range(len(rounds)))
    return Chart(
        "hard-by-round",
        "Found hard in each round",
        "Rows that the judge was asked about in each round, and how many of them were hard.",
        (
            Series("asked", "line", numbers, tuple(one["rows"] for one in rounds), "rest"),
            Series("hard", "line", numbers, tuple(one["hard"] for one in rounds)),
        ),
        x_title="round",
        y_title="rows",
    )


def _quality(rounds: Sequence[Found]) -> list[Chart]:
    held = [(number, one["holdout"]) for number, one in enumerate(rounds) if one["holdout"]]
    auroc = [(number, one["auroc"]) for number, one in held if one["auroc"] is not None]
    series = [
        Series(
            "coverage",
            "line",
            tuple(range(len(rounds))),
            tuple(one["coverage"] for one in rounds),
            "group-3",
        )
    ]
    if auroc:
        numbers, values = (tuple(column) for column in zip(*auroc, strict=True))
        series.insert(0, Series("AUROC, held out", "line", numbers, values))
    return [
        Chart(
            "quality-by-round",
            "What the classifier learned, and how far the search reaches",
            "AUROC on the hold-out after each round (0.5 is chance), and the share of the pool's "
            "clusters that the hard set touches.",
            tuple(series),
            x_title="round",
            y_title="share",
        )
    ]
