"""The summary: three sentences, and the command that repeats the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from instructmine.reporting.blocks import Block, Section, Text, count, share, shown
from instructmine.reporting.evidence_section import sentence
from instructmine.reporting.rows import PoolRows
from instructmine.rules.design import SetPrediction

UNPROVEN = (
    "Whether this choice is better than a random one is not known: nothing here compares them. "
    "`instructmine compare` does."
)


def summary_section(
    rows: PoolRows | None,
    *,
    comparison: Sequence[Mapping[str, Any]] = (),
    prediction: SetPrediction | None = None,
    size: Mapping[str, Any] | None = None,
    command: str = "",
) -> Section:
    """Return what was chosen from what, by which rule, and how sure that is."""
    said = [what_was_chosen(rows), by_which_rule(rows), how_sure(rows, comparison, size)]
    blocks: list[Block] = [Text(text) for text in said if text]
    if prediction is not None and prediction.extrapolates:
        blocks.append(
            Text(
                "The chosen set lies outside what the rule was fitted on; see the rule.", "warning"
            )
        )
    if command:
        blocks += [Text("To repeat it:"), Text(command, "code")]
    return Section("summary", "Summary", tuple(blocks), rows.origin if rows else ())


def what_was_chosen(rows: PoolRows | None) -> str:
    """Return the first sentence."""
    if rows is None:
        return ""
    files = count(len(rows.sources), "file")
    if not rows.decided:
        return (
            f"{len(rows):,} rows of {files} were scored with {len(rows.indicators)} indicators; "
            "nothing was chosen."
        )
    taken = int(rows.selected.sum())
    left = len(rows) - len(rows.ranked)
    found = rows.manifest.get("selection", {})
    tokens = ""
    if "tokens" in found:
        tokens = f", {found['tokens']:,} of {found['pool_tokens']:,} tokens"
    return (
        f"{taken:,} of {len(rows):,} rows ({share(taken, len(rows))}) of {files} were chosen"
        f"{tokens}; {left:,} could not be."
    )


def by_which_rule(rows: PoolRows | None) -> str:
    """Return the second sentence."""
    if rows is None or not rows.decided:
        return ""
    selector = rows.manifest.get("selector", {}).get("name")
    how = f" by the selector `{selector}`" if selector else ""
    if rows.rule is None:
        return f"They were ranked{how}, without a rule."
    quality = rows.manifest.get("selection", {}).get("mean_quality", {})
    means = ""
    if quality.get("selected") is not None:
        means = (
            f": mean quality {shown(quality['selected'])} against {shown(quality['pool'])} in the "
            "pool, lower is better"
        )
    return f"They were ranked{how} with the rule `{rows.rule.name}`{means}."


def how_sure(
    rows: PoolRows | None, comparison: Sequence[Mapping[str, Any]], size: Mapping[str, Any] | None
) -> str:
    """Return the third sentence: what the comparison says, else that nothing does."""
    said = [
        found[0]
        for name in dict.fromkeys(row["strategy"] for row in comparison)
        if name not in ("base", "full") and (found := sentence(comparison, name))
    ]
    if said:
        return "Trained and measured, " + " ".join(said)
    if size is not None:
        low, high = size["best_interval"]
        return (
            f"A search trained on {size['cost']['trials']} prefixes: take {size['size']:,} "
            f"examples; the lowest loss lies between {low:,} and {high:,} (95 %)."
        )
    return UNPROVEN if rows is not None and rows.decided else ""
