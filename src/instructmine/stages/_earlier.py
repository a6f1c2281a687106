"""What is stored of a part of a pool, for indicators whose values depend on the pool.

A pool that grew holds the rows of the pool it was. Of that one all distances are stored, so only
those to the rows that came are new.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Earlier
from instructmine.ids import IdArray, digest_in_order, order_by, words
from instructmine.recipes import Recipe
from instructmine.store import Store


def earlier_scores(store: Store, recipe: Recipe, ids: IdArray) -> Earlier | None:
    """Return what is stored, under this recipe but for the pool, of the largest part of the pool.

    ids: (n,) of the pool's rows, with repeats.
    """
    if not isinstance(recipe.fields["pool"], str):
        return None  # searched in clusters: other pools have other clusters
    best: tuple[Recipe, npt.NDArray[np.int64]] | None = None
    for other in store.of_other_pools(recipe):
        stored = store.ids(other)
        # A part that was merged or lost rows no longer says which pool it is about.
        if len(stored) >= len(ids) or (best is not None and len(stored) <= len(best[1])):
            continue
        if digest_in_order(stored, order_by(*words(stored))[0]) != other.fields["pool"]:
            continue
        rows = _places(stored, ids)
        if rows is not None:
            best = other, rows
    if best is None:
        return None
    other, rows = best
    values = store.read(other, store.columns(other), ids[rows]).values
    return Earlier(rows, values)


def _places(part: IdArray, ids: IdArray) -> npt.NDArray[np.int64] | None:
    """Return where the rows of a part are, each copy at a place of its own; None if not all are."""
    free: dict[bytes, list[int]] = {}
    for place, one in enumerate(ids.tolist()):
        free.setdefault(one, []).append(place)
    found = []
    for one in part.tolist():
        places = free.get(one)
        if not places:
            return None
        found.append(places.pop())
    return np.array(found, dtype=np.int64)
