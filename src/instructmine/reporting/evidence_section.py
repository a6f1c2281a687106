"""The section about evidence: every strategy against a random draw, in numbers and as a forest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from instructmine.reporting.blocks import Block, Chart, Mark, Section, Series, Table, Text, count
from instructmine.reporting.evaluation_blocks import evaluation_blocks

Row = Mapping[str, Any]


def evidence_section(
    rows: Sequence[Row],
    manifest: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    origin: tuple[str, ...],
) -> Section:
    """Return the section.

    rows, manifest: of the table that `compare` wrote. evaluation: what `evaluate` wrote.
    """
    blocks: list[Block] = []
    for name in dict.fromkeys(row["strategy"] for row in rows):
        said = sentence(rows, name)
        blocks += [Text(said[0], said[1])] if said else []
    for number, key in enumerate(_groups(rows)):
        own = [row for row in rows if (row["eval"], row["size"]) == key]
        blocks += [_table(own, key), *_forest(own, key, number)]
    blocks += [Text(f"Beware: {text}", "warning") for text in manifest.get("warnings", [])]
    blocks += evaluation_blocks(evaluation)
    return Section("evidence", "Evidence", tuple(blocks), origin)


def _groups(rows: Sequence[Row]) -> list[tuple[str, int]]:
    return list(dict.fromkeys((row["eval"], row["size"]) for row in rows))


def sentence(rows: Sequence[Row], strategy: str) -> tuple[str, Any] | None:
    """Return in one sentence how a strategy did against random, and whether well; None for random.

    It is called better or worse only where the corrected p says so.
    """
    own = [row for row in rows if row["strategy"] == strategy and row["difference"] is not None]
    if not own:
        return None
    better = sum(row["verdict"].startswith("better") for row in own)
    worse = sum(row["verdict"].startswith("worse") for row in own)
    said = [
        f"{name} than random in {number} of {count(len(own), 'comparison')}"
        for name, number in (("better", better), ("worse", worse))
        if number
    ]
    text = ", ".join(said) or f"no better than random in any of {count(len(own), 'comparison')}"
    return f"{strategy}: {text}.", "warning" if worse else "good" if better else "plain"


def _table(rows: Sequence[Row], key: tuple[str, int]) -> Table:
    header = ("strategy", "loss", "to random", "95 % low", "95 % high", "p", "worth", "tokens",
              "verdict")  # fmt: skip
    names = ("strategy", "loss", "difference", "difference_low", "difference_high", "p_corrected",
             "multiplier_text", "tokens_trained", "verdict")  # fmt: skip
    return Table(
        f"{key[0]}, {key[1]:,} rows",
        header,
        tuple(tuple(row[name] for name in names) for row in rows),
        "loss in nats per token, lower is better; p is corrected for the number of comparisons on "
        "the eval set; worth: random rows needed for the same loss, over those spent",
    )


def _forest(rows: Sequence[Row], key: tuple[str, int], number: int) -> Iterator[Block]:
    own = [row for row in rows if row["difference"] is not None]
    if not own:
        return
    yield Chart(
        f"forest-{number + 1}",
        f"Difference to random on {key[0]}, {key[1]:,} rows",
        f"Difference of each strategy's loss to random's on {key[0]} at {key[1]:,} rows with 95 % "
        "intervals; left of zero is better than random.",
        (
            Series(
                "difference",
                "points",
                tuple(row["difference"] for row in own),
                tuple(row["strategy"] for row in own),
                low=tuple(row["difference_low"] for row in own),
                high=tuple(row["difference_high"] for row in own),
            ),
        ),
        x_title="loss minus random's, nats per token; left is better",
        marks=(Mark("x", 0.0),),
        lying=True,
    )
