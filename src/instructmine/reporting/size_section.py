"""The section about the size: loss against size, what was asked in which order, what to take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Mark,
    Section,
    Series,
    Table,
    Text,
)

Found = Mapping[str, Any]


def size_section(found: Found, origin: tuple[str, ...]) -> Section:
    """Return the section. found: what `search` wrote as JSON."""
    blocks: list[Block] = [_facts(found), Text(_sentence(found["shape"]["explained"]))]
    blocks += [Text(f"Beware: {text}", "warning") for text in found.get("warnings", [])]
    blocks += [*_curves(found), *_order(found), *_points(found), *_random(found), *_replays(found)]
    return Section("size", "Size", tuple(blocks), origin)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _facts(found: Found) -> Facts:
    low, high = found["best_interval"]
    cost = found["cost"]
    return Facts(
        (
            Fact("examples to train on", found["size"], "smallest no worse than the best"),
            Fact("lowest loss at", found["best"], f"between {low:,} and {high:,} (95 %)"),
            Fact("loss there", found["best_loss"], f"on {found['eval']}, nats per token"),
            Fact("trainings", cost["trials"], f"{cost['tokens']:,} tokens"),
        )
    )


def _curves(found: Found) -> Iterator[Block]:
    names = list(dict.fromkeys((one["eval"]) for one in found["curve"]))
    for place, name in enumerate(names):
        rankings = dict.fromkeys(one["ranking"] for one in found["curve"])
        series = []
        for number, ranking in enumerate(rankings):
            own = sorted(
                (o for o in found["curve"] if (o["ranking"], o["eval"]) == (ranking, name)),
                key=lambda one: one["size"],
            )
            series.append(
                Series(
                    ranking,
                    "line",
                    tuple(one["size"] for one in own),
                    tuple(one["loss"] for one in own),
                    "chosen" if number == 0 else f"group-{number + 1}",
                    low=tuple(one["low"] for one in own),
                    high=tuple(one["high"] for one in own),
                )
            )
        yield Chart(
            f"size-curve-{place + 1}",
            f"Loss against size on {name}",
            f"Loss on {name} against the number of examples trained on, with 95 % intervals; "
            f"the size to take is {found['size']:,}.",
            tuple(series),
            x_title="examples trained on",
            y_title="loss, nats per token",
            marks=(Mark("x", found["size"], f"take {found['size']:,}"),),
            log_x=True,
        )


def _order(found: Found) -> Iterator[Block]:
    asked = found.get("asked", [])
    if not asked:
        return
    yield Chart(
        "size-order",
        "Sizes in the order they were tried",
        f"The {len(asked)} sizes in the order that the searcher asked for them.",
        (Series("size", "line", tuple(range(1, len(asked) + 1)), tuple(asked)),),
        x_title="step",
        y_title="examples",
        marks=(Mark("y", found["size"], f"take {found['size']:,}"),),
    )
    yield Text(f"Searched by {found['searcher']}; stopped: {found['stopped']}.")


def _points(found: Found) -> Iterator[Block]:
    names = ("ranking", "eval", "size", "seeds", "loss", "low", "high", "above_best")
    header = ("ranking", "eval", "size", "seeds", "loss", "95 % low", "95 % high", "above best")
    yield Table(
        "Every size",
        header,
        tuple(tuple(one[name] for name in names) for one in found["curve"]),
        folded=True,
    )


def _random(found: Found) -> Iterator[Block]:
    rows = found.get("against_random") or []
    if rows:
        names = ("ranking", "eval", "size", "loss", "difference", "low", "high", "p_corrected",
                 "verdict")  # fmt: skip
        header = ("ranking", "eval", "size", "loss", "to random", "95 % low", "95 % high", "p",
                  "verdict")  # fmt: skip
        yield Table(
            "Against random at the same sizes",
            header,
            tuple(tuple(one[name] for name in names) for one in rows),
        )


def _replays(found: Found) -> Iterator[Block]:
    rows = found.get("replays") or []
    if rows:
        names = ("searcher", "trials", "rows", "reached", "trials_to", "excess")
        header = ("searcher", "trainings", "rows", "share that got there", "trainings to it",
                  "loss above best")  # fmt: skip
        yield Table(
            "How other searchers would have done",
            header,
            tuple(tuple(one[name] for name in names) for one in rows),
            found.get("replays_are", ""),
            folded=True,
        )
