"""The rankings that a search for the size measures: its own, and further ones beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from instructmine.errors import UsageError
from instructmine.stages._ranked import ScoredPool, Strategy
from instructmine.stages._run import Run
from instructmine.stages._strategies import DRAWN, RankingFile, entrants


def ranking_name(one: Strategy, within: float | None, stratify: str | None) -> str:
    """Return how a ranking is called in tables."""
    parts = [one.name]
    parts += [f"by {one.rule.name}"] if one.rule else []
    parts += [f"within {within:g}"] if within is not None else []
    parts += [f"per {stratify}"] if stratify else []
    return " ".join(parts)


def further_rankings(
    run: Run, names: Sequence[str], rule: str | None, target: str | Path | None
) -> dict[str, Strategy | RankingFile]:
    """Return the further rankings. Raises UsageError for a name that ranks nothing."""
    if not names:
        return {}
    found = entrants(run, names, rule=rule, target=target)
    if "random" not in names and "all" not in names:
        del found["random"]
    for name, one in found.items():
        if isinstance(one, str) and name in names:  # `all` brings them too
            raise UsageError(f"'{name}' is no ranking, so it has no sizes; leave it to `compare`")
    return {name: one for name, one in found.items() if not isinstance(one, str)}


def is_drawn(name: str) -> bool:
    """Tell whether a ranking is drawn: then every seed draws its own."""
    return name.split(" ")[0] in DRAWN


def usable_by(scored: ScoredPool, one: Strategy | RankingFile) -> ScoredPool:
    """Return the pool without rows that a ranking cannot place; they stay for the others.

    So a further ranking has no influence on the first one, whose prefix `select` will take.
    """
    if isinstance(one, RankingFile) or not one.columns:
        return scored
    known = ~np.isnan(scored.scores.matrix(one.columns)[scored.free]).any(axis=1)
    return replace(scored, free=scored.free[known])
