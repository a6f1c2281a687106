"""Turns finished trials into the table that `fit` reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instructmine.designs import Subset
from instructmine.evals import EvalSet
from instructmine.identity import ids_digest
from instructmine.stages._index import PoolIndex
from instructmine.stages._trial import TrialResult
from instructmine.trial_table import OTHER_LOSS, SOURCE

_TEXTS = ("subset", "design", "stratum", "checkpoint", "error")


@dataclass(frozen=True)
class Planned:
    """One row of the table to be: a subset and the seed it is trained with."""

    trial: int
    seed: int
    subset: Subset


def trials_table(
    index: PoolIndex,
    planned: Sequence[Planned],
    results: Sequence[TrialResult],
    *,
    design: str,
    sets: Sequence[EvalSet],
    means: Callable[[npt.NDArray[np.int64]], Mapping[str, float]],
) -> pa.Table:
    """Return one row per trial; see `Trials` for the columns. The first set gives `loss`."""
    names = source_names(index.sources)
    rows = []
    for one, found in zip(planned, results, strict=True):
        positions = one.subset.positions
        shares = np.bincount(index.source[positions], minlength=len(names)) / len(positions)
        rows.append(
            {
                "trial": one.trial,
                "subset": ids_digest(index.ids[positions].tolist()),
                "seed": one.seed,
                "design": design,
                "stratum": one.subset.about,
                "size": len(positions),
                "epochs": found.facts.get("epochs"),
                "steps": found.facts.get("steps"),
                **_losses(found, sets),
                "tokens": found.facts.get("tokens"),
                "seconds": found.facts.get("seconds"),
                **{SOURCE + name: share for name, share in zip(names, shares, strict=True)},
                **means(positions),
                "checkpoint": str(found.folder) if found.folder else None,
                "error": found.error,
            }
        )
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return pa.table(
        {
            name: pa.array(values, pa.string() if name in _TEXTS else None)
            for name, values in columns.items()
        }
    )


def _losses(found: TrialResult, sets: Sequence[EvalSet]) -> dict[str, Any]:
    first, *others = sets
    if found.error:
        blank = {"loss": None, "log_loss": None, "loss_se": None}
        return blank | {OTHER_LOSS + one.name: None for one in others}
    own = found.losses[first.name]
    return {
        "loss": own.loss,
        "log_loss": math.log(own.loss),
        "loss_se": own.se,
        **{OTHER_LOSS + one.name: found.losses[one.name].loss for one in others},
    }


def source_names(labels: Sequence[str]) -> list[str]:
    """Return a short name for each source: its stem, or its whole label where stems are equal."""
    stems = [PurePath(label).name.split(".")[0] or label for label in labels]
    return [
        stem if stems.count(stem) == 1 else label for stem, label in zip(stems, labels, strict=True)
    ]
