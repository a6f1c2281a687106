"""The rows to browse, as JSON-like values: text, scores as percentiles, shares of the rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from instructmine.pool import Example
from instructmine.reporting.distributions import percentiles
from instructmine.reporting.rows import PoolRows, head
from instructmine.reporting.samples import Sampled

TEXT_BYTES = 4_500_000  # of all texts together, as they stand in the page
LONGEST, SHORTEST = 4000, 250  # characters kept of a message
ROW = 3  # messages of that length kept of a row


def cards(rows: PoolRows, sampled: Sampled) -> dict[str, Any]:
    """Return the rows to browse, column by column where that is shorter.

    A message is `[role, text, characters it had]`. Contributions are to quality, against the mean
    of the pool: negative speaks for the row.
    """
    places = sampled.sample.browsed.tolist()
    member = {name: set(own.tolist()) for name, own in sampled.sample.groups.items()}
    scores = {name: values[places] for name, values in rows.columns.items()}
    shares = _contributions(rows)
    messages, kept = _messages([sampled.examples.get(place) for place in places])
    return {
        "sources": list(rows.sources),
        "groups": {name: len(own) for name, own in sampled.sample.groups.items()},
        "pool_rows": len(rows),
        "decided": rows.decided,
        "reasons": list(dict.fromkeys(head(rows.reason[place]) for place in sorted(places))),
        "message_characters": kept,
        "columns": list(rows.columns),
        "rule": {"name": rows.rule.name, "columns": list(shares)} if rows.rule else None,
        "rows": [
            {
                "source": int(rows.source[place]),
                "row": int(rows.row[place]),
                "id": rows.ids[place].decode(),
                "rank": int(rows.rank[place]) or None,
                "quality": _number(rows.quality[place]),
                "selected": bool(rows.selected[place]),
                "reason": rows.reason[place],
                "groups": [name for name, own in member.items() if place in own],
                "messages": messages[i],
                "scores": [_number(values[i]) for values in scores.values()],
                "contributions": [_number(values[place]) for values in shares.values()],
            }
            for i, place in enumerate(places)
        ],
    } | _percentiles(rows, places)


def _percentiles(rows: PoolRows, places: list[int]) -> dict[str, Any]:
    """Return column → percentile of each row."""
    return {
        "percentiles": {name: percentiles(v, places) for name, v in rows.columns.items()},
        "quality_percentiles": percentiles(rows.quality, places),
    }


def _contributions(rows: PoolRows) -> dict[str, Any]:
    """Return column → (n,) what it adds to the quality of a row, against the pool's mean."""
    if rows.rule is None or not set(rows.rule.columns) <= set(rows.columns):
        return {}
    found = rows.rule.contributions(rows.scores)
    return {name: values - np.nanmean(values) for name, values in found.items()}


def _messages(examples: list[Example | None]) -> tuple[list[list[list[Any]]], int]:
    """Return the messages of each row, cut alike until all fit, and where they were cut."""
    keep = LONGEST
    while True:
        found = [_clipped(one, keep) if one else [] for one in examples]
        if keep <= SHORTEST or _size(found) <= TEXT_BYTES:
            return found, keep
        keep //= 2


def _clipped(example: Example, keep: int) -> list[list[Any]]:
    """Return messages until they hold `ROW` times what is kept of one, then how many follow."""
    out: list[list[Any]] = []
    for message in example.messages:
        if sum(len(text) for _, text, _ in out) > ROW * keep:
            left = len(example.messages) - len(out)
            return [*out, ["more", f"{left:,} more messages", 0]]
        out.append([message.role, message.content[:keep], len(message.content)])
    return out


def _size(found: list[list[list[Any]]]) -> int:
    return sum(len(json.dumps(one, ensure_ascii=False).encode("utf-8", "replace")) for one in found)


def _number(value: float) -> float | None:
    """Return a number with six digits, None for NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
