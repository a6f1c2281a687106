"""How searchers would do on a curve that is known: what they cost, and what they find.

Between measured sizes the losses of every seed and prompt are taken to be linear in the logarithm
of the size, so nothing can be found there that is better than the better neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructmine.contracts import Searcher, SizeRange
from instructmine.curves import SizeCurve
from instructmine.searching import Limits, Measure, Outcome, explore

REACHED = 0.01  # within this share of the lowest loss counts as found


@dataclass(frozen=True)
class Replay:
    """One search on a known curve.

    trials, rows: trainings, and examples in them, until it stopped. trials_to, rows_to: until the
    best size it knew was within 1 % of the lowest loss; None where it never was. size: what it
    chose. excess: its loss above the lowest one, as a share of that.
    """

    trials: int
    rows: float
    trials_to: int | None
    rows_to: float | None
    size: int
    excess: float


def interpolated(curve: SizeCurve) -> Measure:
    """Return what trainings of any size would come to, by interpolation between the points."""
    points = curve.eligible
    places = np.log([one.size for one in points])
    losses = np.stack([one.losses for one in points])

    def at(size: int, seed: int) -> Outcome:
        place = np.log(size)
        right = int(np.clip(np.searchsorted(places, place), 1, len(points) - 1))
        share = (place - places[right - 1]) / (places[right] - places[right - 1])
        share = float(np.clip(share, 0, 1))
        return Outcome((1 - share) * losses[right - 1, seed] + share * losses[right, seed], size)

    def alone(size: int, seed: int) -> Outcome:
        return Outcome(losses[0, seed], size)

    one = at if len(points) > 1 else alone
    return lambda jobs: [one(size, seed) for size, seed in jobs]


def replay(
    searcher: Searcher, sizes: SizeRange, curve: SizeCurve, *, seed: int, limits: Limits
) -> Replay:
    """Run a search on the interpolated curve."""
    measure = interpolated(curve)
    found = explore(searcher, sizes, measure, seed=seed, limits=limits)
    lowest = min(one.loss for one in curve.eligible)

    def loss(size: int) -> float:
        outcomes = measure([(size, k) for k in range(sizes.seeds)])
        return float(np.mean([one.losses for one in outcomes]))

    made = found.curve()
    assert made is not None  # no training of an interpolated curve diverges
    size = made.chosen.size
    enough = (1 + REACHED) * lowest
    reached = next((one for one in found.steps if one.best and loss(one.best) <= enough), None)
    return Replay(
        trials=found.trials,
        rows=found.spent("rows"),
        trials_to=reached.trials if reached else None,
        rows_to=reached.rows if reached else None,
        size=size,
        excess=loss(size) / lowest - 1,
    )
