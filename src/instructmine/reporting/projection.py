"""Where rows lie in two dimensions: a map of their embeddings, drawn for a sample."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from instructmine.reporting.blocks import Chart, Series, Tabs
from instructmine.reporting.rows import BoolArray, IntArray, PoolRows

POINTS = 2400  # drawn
FIT = 20_000  # rows that the axes are computed from
FIFTHS = ("best fifth", "second", "third", "fourth", "worst fifth")
NAMED_SOURCES = 7  # with colours of their own


def maps(rows: PoolRows, vectors: npt.NDArray[np.float32], seed: int = 0) -> Tabs | None:
    """Return the map coloured by what was chosen, by quality and by source.

    vectors: (n, d), NaN where a row has none. None for fewer than three rows.
    """
    known = np.flatnonzero(np.isfinite(vectors).all(axis=1))
    if len(known) < 3:
        return None
    rng = np.random.default_rng(seed)
    drawn = _drawn(rows, known, rng)
    method, points = _project(vectors, known, drawn, seed)
    of = "" if len(drawn) == len(known) else f" A sample of {len(drawn):,} of {len(known):,} rows."
    views = {"source": _by_source(rows, drawn)}
    if rows.decided:
        views = {"chosen": _by_choice(rows, drawn), "quality": _by_quality(rows, drawn), **views}
    charts = tuple(
        Chart(
            f"map-by-{name}",
            f"Map by {name}",
            f"Two-dimensional map of the embeddings ({method}): rows of like meaning lie close "
            f"together, coloured by {name}.{of}",
            tuple(_points(label, role, own, drawn, points, rows) for label, role, own in groups),
            bare=True,
        )
        for name, groups in views.items()
        if groups
    )
    return Tabs("map", charts)


Groups = list[tuple[str, str, BoolArray]]


def _drawn(rows: PoolRows, known: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw the points: up to half of them chosen rows, so that a small choice is seen."""
    chosen = known[rows.selected[known]]
    rest = known[~rows.selected[known]]
    some = rng.choice(chosen, min(len(chosen), POINTS // 2), replace=False)
    others = rng.choice(rest, min(len(rest), POINTS - len(some)), replace=False)
    return np.sort(np.concatenate([some, others])).astype(np.int64)


def _project(
    vectors: npt.NDArray[np.float32], known: IntArray, drawn: IntArray, seed: int
) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the method's name and (len(drawn), 2) places."""
    if find_spec("umap") is not None and len(drawn) > 15:
        import umap

        found = umap.UMAP(random_state=seed, n_jobs=1).fit_transform(vectors[drawn])
        return "UMAP", np.asarray(found, dtype=np.float64)
    fitted = known if len(known) <= FIT else known[:: -(-len(known) // FIT)]
    mean = vectors[fitted].mean(axis=0)
    away = (vectors[fitted] - mean).astype(np.float64)
    _, axes = np.linalg.eigh(away.T @ away)
    first = axes[:, ::-1][:, :2]
    first *= np.where(first[np.abs(first).argmax(axis=0), [0, 1]] < 0, -1, 1)  # one sign for all
    return "PCA", (vectors[drawn] - mean) @ first


def _by_choice(rows: PoolRows, drawn: IntArray) -> Groups:
    chosen = rows.selected[drawn]
    return [("not chosen", "rest", ~chosen), ("chosen", "chosen", chosen)]


def _by_quality(rows: PoolRows, drawn: IntArray) -> Groups:
    quality = rows.quality[drawn]
    known = np.isfinite(quality)
    if not known.any():
        return []
    edges = np.nanpercentile(rows.quality, (20, 40, 60, 80))
    fifth = np.where(known, np.searchsorted(edges, quality), -1)
    groups: Groups = [(name, f"fifth-{i + 1}", fifth == i) for i, name in enumerate(FIFTHS)]
    return [*groups, ("no quality", "rest", ~known)] if not known.all() else groups


def _by_source(rows: PoolRows, drawn: IntArray) -> Groups:
    source = rows.source[drawn]
    largest = np.argsort(-np.bincount(rows.source, minlength=len(rows.sources)), kind="stable")
    named = largest[:NAMED_SOURCES]
    groups: Groups = [
        (rows.sources[code], f"group-{place + 1}", source == code)
        for place, code in enumerate(named)
    ]
    rest = ~np.isin(source, named)
    return [*groups, ("other sources", "rest", rest)] if rest.any() else groups


def _points(
    name: str,
    role: str,
    own: BoolArray,
    drawn: IntArray,
    points: npt.NDArray[np.float64],
    rows: PoolRows,
) -> Series:
    x, y = np.round(points[own], 4).T.tolist() if own.any() else ([], [])
    labels = tuple(rows.place(int(position)) for position in drawn[own])
    return Series(name, "points", tuple(x), tuple(y), role, labels=labels)
