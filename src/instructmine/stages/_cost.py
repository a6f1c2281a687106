"""What scoring a pool costs, from what it cost before."""

from __future__ import annotations

from collections.abc import Iterable

from instructmine.stages._index import PoolIndex
from instructmine.stages._measure import Measurement
from instructmine.stages._run import Run


def scoring_seconds(run: Run, index: PoolIndex, measurements: Iterable[Measurement]) -> float:
    """Return the seconds that measuring the whole pool takes, what each reads included.

    By the rate at which the stored scores of these very recipes were computed: what is found
    in the store today was paid for once.
    """
    past = {stored.key: stored for stored in run.store.recipes()}
    pending, keys = list(measurements), set[str]()
    while pending:
        one = pending.pop()
        keys.add(one.recipe.key)
        pending += one.inputs
    known = [past[key] for key in keys if key in past and past[key].rows]
    return float(sum(one.seconds / one.rows for one in known) * len(index))
