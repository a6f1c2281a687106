"""The section about the choice: the cut, sources and topics before and after, what was left out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Mark,
    Section,
    Series,
    Table,
    Tabs,
    Text,
    share,
    shown,
)
from instructmine.reporting.rows import PoolRows, head
from instructmine.reporting.topics import Topic, Topics

CURVE = 300  # points of the curve of quality against rank
EXAMPLES = 12  # rows shown of each kind that was left out
DRAWN_TOPICS = 12


def choice_section(
    rows: PoolRows, topics: Topics | None, maps: Tabs | None, absent: str = ""
) -> Section:
    """Return the section. absent: why there is no map, where there is none."""
    warnings = rows.manifest.get("warnings", [])
    blocks: list[Block] = [_facts(rows), *(Text(f"Beware: {one}", "warning") for one in warnings)]
    blocks += _ranks(rows)
    blocks += [maps] if maps else [Text(absent)] if absent else []
    blocks += [*_sources(rows), *_topics(topics), *_left_out(rows), *_passed_over(rows)]
    return Section("choice", "The choice", tuple(blocks), rows.origin)


def _facts(rows: PoolRows) -> Facts:
    found = rows.manifest.get("selection", {})
    taken = int(rows.selected.sum())
    facts = [Fact("chosen", taken, f"{share(taken, len(rows))} of {len(rows):,} rows")]
    if "tokens" in found:
        part = share(found["tokens"], found["pool_tokens"])
        facts.append(Fact("tokens chosen", found["tokens"], f"{part} of {found['pool_tokens']:,}"))
    quality = found.get("mean_quality", {})
    if quality.get("selected") is not None:
        note = f"{shown(quality['pool'])} in the pool; lower is better"
        facts.append(Fact("mean quality", quality["selected"], note))
    could = len(rows.ranked)
    facts.append(Fact("left out", len(rows) - could, f"{could:,} rows could be chosen"))
    return Facts(tuple(facts))


def _ranks(rows: PoolRows) -> Iterator[Block]:
    ranked = rows.ranked
    quality = rows.quality[ranked]
    if not len(ranked) or not np.isfinite(quality).all():
        return
    places = np.unique(np.linspace(0, len(ranked) - 1, min(CURVE, len(ranked))).astype(int))
    cut = int(rows.selected.sum())
    at = float(quality[cut - 1]) if cut else None
    yield Chart(
        "quality-by-rank",
        "Quality against rank",
        f"Quality (lower is better) against rank; the cut is at rank {cut:,}"
        + (f", quality {shown(at)}." if at is not None else "."),
        (
            Series(
                "quality",
                "line",
                tuple((places + 1).tolist()),
                tuple(quality[places].tolist()),
            ),
        ),
        x_title="rank",
        y_title="quality, lower is better",
        marks=(Mark("x", cut + 0.5, f"cut at {cut:,}"),),
    )


def _sources(rows: PoolRows) -> Iterator[Block]:
    if len(rows.sources) < 2:
        return
    total = np.bincount(rows.source, minlength=len(rows.sources))
    taken = np.bincount(rows.source[rows.selected], minlength=len(rows.sources))
    order = np.argsort(-total, kind="stable")[:DRAWN_TOPICS]
    yield _before_and_after(
        "sources",
        "Sources, before and after",
        [rows.sources[place] for place in order],
        (100 * total / total.sum())[order].tolist(),
        (100 * taken / max(taken.sum(), 1))[order].tolist(),
    )


def _topics(found: Topics | None) -> Iterator[Block]:
    if found is None:
        return
    titles = [one.title for one in found.topics]
    yield _before_and_after(
        "topics",
        "Topics, before and after",
        titles,
        [100 * one.rows / found.rows for one in found.topics],
        [100 * one.chosen / max(found.chosen, 1) for one in found.topics],
    )
    lines, inner = [], set()
    for topic in found.topics:
        lines.append(_topic(found, topic))
        for part in topic.parts:
            inner.add(len(lines))
            lines.append(_topic(found, part))
    yield Table(
        "Topics and their parts",
        ("topic", "rows", "share of pool", "chosen", "share of choice", "chosen / expected", ""),
        tuple(lines),
        "clusters of the embeddings, titled by the words that set their prompts apart; expected "
        "of a random choice of as many rows",
        indented=frozenset(inner),
    )
    lost = found.lost()
    if lost:
        names = "; ".join(f"“{one.title}” ({one.rows:,} rows)" for one in lost)
        yield Text(f"Lost, nothing of it was chosen: {names}.", "warning")


def _topic(found: Topics, one: Topic) -> tuple[object, ...]:
    expected = found.expected(one)
    return (
        one.title,
        one.rows,
        share(one.rows, found.rows),
        one.chosen,
        share(one.chosen, found.chosen),
        one.chosen / expected if expected else None,
        "lost" if one in found.lost() else "",
    )


def _before_and_after(
    name: str, title: str, labels: list[str], before: list[float], after: list[float]
) -> Chart:
    unique = _unique(labels)
    return Chart(
        name,
        title,
        f"{title}: share of the pool and share of the choice, in per cent.",
        (
            Series("pool", "bars", tuple(before), unique, "rest"),
            Series("choice", "bars", tuple(after), unique, "chosen"),
        ),
        x_title="% of rows",
        lying=True,
    )


def _unique(labels: list[str]) -> tuple[str, ...]:
    """Return the labels, repeated ones told apart: bars of one name would be drawn as one."""
    return tuple(
        label if labels.index(label) == place else f"{label} ({labels[:place].count(label) + 1})"
        for place, label in enumerate(labels)
    )


def _left_out(rows: PoolRows) -> Iterator[Block]:
    heads = np.array([head(text) for text in rows.reason])
    kinds = [name for name in dict.fromkeys(heads.tolist()) if name not in ("selected",)]
    counts = sorted(((int((heads == name).sum()), name) for name in kinds), reverse=True)
    lines = tuple((name, n, share(n, len(rows))) for n, name in counts)
    yield Table("Why rows were not chosen", ("reason", "rows", "share of pool"), lines)
    shown_rows = [
        (rows.place(int(place)), rows.reason[place])
        for _, name in counts
        if name != "below cut"
        for place in np.flatnonzero(heads == name)[:EXAMPLES]
    ]
    if shown_rows:
        note = f"the first {EXAMPLES} of each kind; all are in the decisions"
        yield Table("Left out, row by row", ("row", "why"), tuple(shown_rows), note, folded=True)


def _passed_over(rows: PoolRows) -> Iterator[Block]:
    """Say what the selector did beyond taking the best by quality."""
    chosen = rows.quality[rows.selected]
    if not len(chosen) or not np.isfinite(chosen).any():
        return
    below = (rows.rank > 0) & ~rows.selected
    better = int((rows.quality[below] < np.nanmax(chosen)).sum())
    selector = rows.manifest.get("selector", {}).get("name", "the selector")
    if better:
        yield Text(
            f"`{selector}` passed over {better:,} rows of better quality than the worst chosen "
            "one, for diversity, a target or proportions."
        )
