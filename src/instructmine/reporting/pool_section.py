"""The section about the pool: where rows come from, what they measure, what is wrong with some."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from instructmine.reporting.blocks import (
    Block,
    Chart,
    Fact,
    Facts,
    Grid,
    Section,
    Series,
    Table,
    Text,
    Value,
    count,
    share,
    shown,
)
from instructmine.reporting.distributions import correlations, histogram, spread
from instructmine.reporting.rows import IntArray, PoolRows
from instructmine.reporting.samples import Sampled, conversations, languages

REJECTED = 20  # rejected rows shown


def pool_section(rows: PoolRows, sampled: Sampled) -> Section:
    """Return the section; what needs text is said of the sample."""
    blocks: list[Block] = [_facts(rows), _sources(rows)]
    blocks += [*_rejected(rows), *_missing(rows), *_languages(sampled)]
    blocks += [*_indicators(rows), *_correlations(rows)]
    return Section("pool", "The pool", tuple(blocks), rows.origin)


def _facts(rows: PoolRows) -> Facts:
    tokens = rows.manifest.get("selection", {}).get("pool_tokens")
    distinct = len(np.unique(rows.ids))
    facts = [
        Fact("readable rows", len(rows), f"in {count(len(rows.sources), 'file')}"),
        Fact("repeats", len(rows) - distinct, "the same conversation once more"),
        Fact("rejected", len(rows.rejected), "could not be read"),
    ]
    if tokens is not None:
        facts.insert(1, Fact("tokens", tokens, "prompts and responses"))
    return Facts(tuple(facts))


def _sources(rows: PoolRows) -> Table:
    total = np.bincount(rows.source, minlength=len(rows.sources))
    taken = np.bincount(rows.source[rows.selected], minlength=len(rows.sources))
    if not rows.decided:
        scored = [
            (name, int(n), share(n, len(rows))) for name, n in zip(rows.sources, total, strict=True)
        ]
        return Table("Sources", ("source", "rows", "share"), tuple(scored))
    lines = [
        (name, int(n), share(n, total.sum()), int(k), share(k, taken.sum()))
        for name, n, k in zip(rows.sources, total, taken, strict=True)
    ]
    header = ("source", "rows", "share of pool", "chosen", "share of choice")
    return Table("Sources, before and after", header, tuple(lines))


def _rejected(rows: PoolRows) -> Iterator[Block]:
    if not rows.rejected:
        return
    why = Counter(str(one.get("reason")) for one in rows.rejected)
    yield Table("Rows that could not be read", ("reason", "rows"), tuple(why.most_common(REJECTED)))
    lines = tuple(
        (f"{one.get('source')}:{one.get('row')}", one.get("reason"), _clip(str(one.get("raw"))))
        for one in rows.rejected[:REJECTED]
    )
    note = f"the first {len(lines)} of {len(rows.rejected):,}"
    yield Table("What they hold", ("where", "reason", "text"), lines, note, folded=True)


def _missing(rows: PoolRows) -> Iterator[Block]:
    lines = []
    for name, values in rows.columns.items():
        absent = np.flatnonzero(~np.isfinite(values))
        if len(absent):
            lines.append(
                (name, len(absent), share(len(absent), len(rows)), _why(rows, absent, name))
            )
    if lines:
        header = ("indicator", "rows without a value", "share", "for example")
        yield Table("Missing scores", header, tuple(lines))


def _why(rows: PoolRows, places: IntArray, name: str) -> str:
    """Return the most common reason that is about this column's indicator, if a row says one."""
    known = rows.manifest.get("indicators", {})
    by = next((own for own, one in known.items() if name in one["columns"]), name)
    said = (part for place in places for part in rows.reason[place].split("; "))
    about = [part.removeprefix("unscorable: ") for part in said]
    about = [part for part in about if part.startswith(f"{by}:")]
    return Counter(about).most_common(1)[0][0] if about else ""


def _languages(sampled: Sampled) -> Iterator[Block]:
    if not sampled.drawn:
        return
    read = len(sampled.drawn)
    note = f"of {read:,} rows drawn at random"
    found = Counter(sampled.shapes[position] for position in sampled.drawn)
    shapes = tuple((name, n, share(n, read)) for name, n in found.most_common())
    yield Grid(
        (
            Table("Row shapes", ("shape", "rows", "share"), shapes, note),
            Table(
                "Conversations",
                ("assistant turns", "rows", "share"),
                tuple((str(turns), *rest) for turns, *rest in conversations(sampled)),
                note,
            ),
            Table(
                "Languages of the responses",
                ("language", "rows", "share"),
                languages(sampled),
                f"{note}; as py3langid tells them (ISO 639 codes), a short response with its "
                "prompt: code, names and rare languages are guesses",
            ),
        )
    )


def _indicators(rows: PoolRows) -> Iterator[Block]:
    lines: list[tuple[Value, ...]] = []
    charts = []
    for name, values in rows.columns.items():
        found = spread(values, rows.selected)
        if found is None:
            continue
        line: tuple[Value, ...] = (
            name, found.known, found.mean, found.median, found.low, found.high,
        )  # fmt: skip
        lines.append((*line, found.chosen_mean, found.shift) if rows.decided else line)
        chart = _distribution(rows, name)
        charts += [chart] if chart else []
    if not lines:
        return
    header: tuple[str, ...] = ("indicator", "rows", "mean", "median", "5 %", "95 %")
    if rows.decided:
        header = (*header, "mean of chosen", "shift in sd")
    yield Table("Indicators", header, tuple(lines), "5 % and 95 % are quantiles of the pool")
    yield Grid(tuple(charts))


def _distribution(rows: PoolRows, name: str) -> Chart | None:
    found = histogram(rows.columns[name], rows.selected)
    if found is None:
        return None
    x = tuple(float(value) for value in found.centres)
    series = [
        Series(label, "steps", x, tuple(float(v) for v in values), role)
        for label, values, role in (
            ("not chosen" if rows.decided else "all rows", found.rest, "rest"),
            ("chosen", found.chosen, "chosen"),
        )
        if len(values)
    ]
    beyond = f"; {found.beyond:,} rows beyond the ends count there" if found.beyond else ""
    whom = "chosen and other rows" if rows.decided else "the rows"
    return Chart(
        f"distribution-{name}",
        name,
        f"Distribution of {name} over {whom}, from {shown(float(found.edges[0]))} to "
        f"{shown(float(found.edges[-1]))}{beyond}.",
        tuple(series),
        x_title=name,
        y_title="% of rows",
        log_x=found.log,
        small=True,
    )


def _correlations(rows: PoolRows) -> Iterator[Block]:
    found = correlations(rows.columns)
    if found is None:
        return
    names, matrix = found
    lines = tuple(
        (name, *(round(float(value), 2) for value in row))
        for name, row in zip(names, matrix, strict=True)
    )
    yield Table(
        "How the indicators go together",
        ("", *names),
        lines,
        "Spearman rank correlation over rows with every value; alike indicators stand side by side",
        heat=True,
    )
    if rows.decided and rows.rule is None:
        yield Text("The choice was made without a rule, so no indicator decided it.")


def _clip(text: str, width: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"
