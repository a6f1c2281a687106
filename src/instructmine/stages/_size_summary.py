"""What a search for the size is written as: the size, the curves, the cost, the replays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from instructmine import plugins
from instructmine.comparison import RANDOM, Arm, contrasts
from instructmine.config import Profile
from instructmine.contracts import Searcher, SizeRange
from instructmine.curves import SizeCurve
from instructmine.replay import REACHED, replay
from instructmine.searching import Exploration, Limits
from instructmine.stages._prefixes import Prefixes

REPLAYS = 5  # seeds of each searcher that is replayed
Curves = Mapping[str, Mapping[str, SizeCurve]]  # ranking → eval set → curve


def installed(searcher: Searcher) -> bool:
    """Tell whether the packages are there that a searcher needs."""
    return all(find_spec(package) is not None for package in searcher.requires)


def search_facts(found: Exploration) -> dict[str, Any]:
    """Return what was asked, what it cost, and what was left out."""
    return {
        "asked": [one.size for one in found.steps],
        "stopped": found.stopped,
        "cost": {
            "trials": found.trials,
            "rows": round(found.spent("rows")),
            "tokens": round(found.spent("tokens")),
            "seconds": round(found.spent("seconds"), 1),
        },
        "skipped": {
            str(size): next(one.error for one in outcomes if one.error)
            for size, outcomes in found.outcomes.items()
            if any(one.error for one in outcomes)
        },
    }


def choice_facts(curve: SizeCurve) -> dict[str, Any]:
    """Return the size to take, the best one, how sure that is, and the shape of the curve."""
    low, high = curve.size_interval()
    shape = curve.shape()
    return {
        "size": curve.chosen.size,
        "best": curve.best.size,
        "best_interval": [low, high],
        "winners": {str(size): round(share, 4) for size, share in curve.winners().items()},
        "loss": curve.chosen.loss,
        "best_loss": curve.best.loss,
        "standard_error": curve.standard_error(curve.chosen, curve.best),
        "shape": {**dataclasses.asdict(shape), "explained": shape.explain()},
    }


def curve_rows(curves: Curves) -> list[dict[str, Any]]:
    """Return one row per ranking, eval set and size.

    low, high: of the loss, for other seeds and prompts. above_…: above the lowest of the curve,
    paired over prompts.
    """
    rows = []
    for ranking, by_set in curves.items():
        for name, curve in by_set.items():
            for point in curve.points:
                loss, gap = curve.estimate(point), curve.difference(point, curve.best)
                rows.append(
                    {
                        "ranking": ranking,
                        "eval": name,
                        "size": point.size,
                        "seeds": point.seeds,
                        "loss": loss.value,
                        "low": _number(loss.low),
                        "high": _number(loss.high),
                        "above_best": gap.value,
                        "above_low": _number(gap.low),
                        "above_high": _number(gap.high),
                    }
                )
    return rows


def shape_facts(curves: Curves) -> list[dict[str, Any]]:
    """Return what each curve does beyond chance, one row per ranking and eval set."""
    rows = []
    for ranking, by_set in curves.items():
        for name, curve in by_set.items():
            shape = curve.shape()
            rows.append(
                {
                    "ranking": ranking,
                    "eval": name,
                    **dataclasses.asdict(shape),
                    "explained": shape.explain(),
                }
            )
    return rows


def against_random(curves: Curves, rankings: Sequence[Prefixes]) -> list[dict[str, Any]]:
    """Return how every ranking does against random at every size that all have, if it is there."""
    if RANDOM not in curves or min(len(one.seeds) for one in rankings) < 2:
        return []
    shared = set.intersection(
        *(set(curve.sizes) for by_set in curves.values() for curve in by_set.values())
    )
    arms = []
    for one in rankings:
        points = {
            name: {point.size: point.losses for point in curve.points}
            for name, curve in curves[one.name].items()
        }
        for size in sorted(shared):
            losses = {name: found[size] for name, found in points.items()}
            arms.append(Arm(one.name, size, losses, one.draws))
    arms = [one for one in arms if all(len(losses) > 1 for losses in one.losses.values())]
    return [_contrast(one) for one in contrasts(arms)] if arms else []


def _contrast(one: Any) -> dict[str, Any]:
    gap = one.difference
    return {
        "ranking": one.strategy,
        "eval": one.eval,
        "size": one.budget,
        "loss": one.loss.value,
        "difference": gap.value if gap else None,
        "low": gap.low if gap else None,
        "high": gap.high if gap else None,
        "p_corrected": one.p,
        "verdict": one.verdict,
    }


def replays(profile: Profile, sizes: SizeRange, curve: SizeCurve, limits: Limits) -> Any:
    """Return how every searcher that is installed would have done on the measured curve.

    Means over a few seeds; the curve is interpolated between the measured sizes.
    """
    points = curve.eligible
    if len(points) < 3:
        return []
    seen = SizeRange(points[0].size, points[-1].size, points[0].seeds)
    rows = []
    for name in plugins.names("searchers"):
        searcher = profile.searcher(name)
        if not installed(searcher):
            continue
        found = [replay(searcher, seen, curve, seed=s, limits=limits) for s in range(REPLAYS)]
        reached = [one for one in found if one.trials_to is not None and one.rows_to is not None]
        rows.append(
            {
                "searcher": name,
                "trials": float(np.mean([one.trials for one in found])),
                "rows": float(np.mean([one.rows for one in found])),
                "reached": len(reached) / len(found),
                "trials_to": _mean([one.trials_to for one in reached]),
                "rows_to": _mean([one.rows_to for one in reached]),
                "sizes": [one.size for one in found],
                "excess": float(np.mean([one.excess for one in found])),
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    return float(np.mean([value for value in values if value is not None])) if values else None


def _number(value: float) -> float | None:
    """Return a number as JSON has it: NaN is none."""
    return None if np.isnan(value) else value


REPLAY_NOTE = (
    "replayed on the measured curve, interpolated in the logarithm of the size; "
    f"reached: within {REACHED:.0%} of its lowest loss"
)
