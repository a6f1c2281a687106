"""What `evaluate` measured: losses, a judge's verdicts with the agreement of both orders, tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from instructmine.reporting.blocks import Block, Chart, Mark, Series, Table, Text

Found = Mapping[str, Any]


def evaluation_blocks(results: Found) -> Iterator[Block]:
    """Yield tables and charts. results: what `evaluate` wrote as JSON."""
    if results.get("loss"):
        yield _losses(results["loss"])
    if results.get("judge"):
        yield from _judged(results["judge"])
    if results.get("openllm"):
        yield _tasks(results["openllm"])


def _losses(found: Sequence[Found]) -> Table:
    lines = []
    for one in found:
        gap = one["difference"] or {}
        lines.append((
            one["model"], one["eval"], one["loss"], one["se"], one["prompts"], one["against"],
            gap.get("value"), gap.get("low"), gap.get("high"), gap.get("p"),
        ))  # fmt: skip
    return Table(
        "Loss of the models",
        ("model", "eval", "loss", "se", "prompts", "against", "difference", "95 % low",
         "95 % high", "p"),
        tuple(lines),
        "nats per token, lower is better",
    )  # fmt: skip


def _judged(found: Found) -> Iterator[Block]:
    pairs = found.get("pairwise") or []
    if pairs:
        yield Table(
            f"Against {found['against']}, by a judge",
            ("model", "turn", "wins", "ties", "losses", "winning score", "95 % low", "95 % high",
             "at equal length", "agreement of both orders", "first place", "no result"),
            tuple(
                (
                    one["model"], one["turn"], one["wins"], one["ties"], one["losses"],
                    *_ends(one["winning_score"]), (one["length_controlled"] or {}).get("value"),
                    one["agreement"], one["first_place"], _count(one["problems"]),
                )
                for one in pairs
            ),
            "a winning score above 1 speaks for the model; agreement: share of pairs judged alike "
            "in both orders; first place: share won by the answer shown first",
        )  # fmt: skip
        yield _forest(found["against"], pairs)
    grades = found.get("grades") or []
    if grades:
        yield Table(
            "Grades from 1 to 10",
            ("model", "turn", "answers", "grade", "95 % low", "95 % high", "no grade"),
            tuple(
                (one["model"], one["turn"], one["count"], *_ends(one["mean"]),
                 _count(one["problems"]))
                for one in grades
            ),
        )  # fmt: skip
    cut = {name: one["cut"] for name, one in found.get("answers", {}).items() if one.get("cut")}
    if cut:
        said = ", ".join(f"{count:,} of {name}" for name, count in cut.items())
        yield Text(f"Answers that were cut: {said}.", "warning")


def _forest(against: str, pairs: Sequence[Found]) -> Chart:
    names = tuple(f"{one['model']}, {one['turn']}" for one in pairs)
    return Chart(
        "judged",
        f"Winning score against {against}",
        f"Winning score of each model against {against} with 95 % intervals; right of one is "
        "better.",
        (
            Series(
                "winning score",
                "points",
                tuple(one["winning_score"]["value"] for one in pairs),
                names,
                low=tuple(one["winning_score"]["low"] for one in pairs),
                high=tuple(one["winning_score"]["high"] for one in pairs),
            ),
        ),
        x_title="winning score; right is better",
        marks=(Mark("x", 1.0),),
        lying=True,
    )


def _tasks(found: Sequence[Found]) -> Table:
    names = ("model", "task", "metric", "value", "stderr", "shots", "items")
    return Table(
        "OpenLLM and other tasks",
        ("model", "task", "metric", "score", "stderr", "shots", "items"),
        tuple(tuple(one.get(name) for name in names) for one in found),
    )


def _ends(one: Found) -> tuple[Any, Any, Any]:
    return one["value"], one.get("low"), one.get("high")


def _count(problems: Any) -> int:
    return sum(problems.values()) if isinstance(problems, Mapping) else int(problems or 0)
