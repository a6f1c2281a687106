"""What a report reads beside the runs themselves: the text of sampled rows, and embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Progress
from instructmine.errors import InstructmineError
from instructmine.formats import Pool, open_pool
from instructmine.mirror import is_url
from instructmine.recipes import Recipe
from instructmine.reporting.rows import PoolRows
from instructmine.reporting.samples import Sample, Sampled
from instructmine.stages._index import index_pool
from instructmine.stages._measure import vectors
from instructmine.stages._run import Run, open_run
from instructmine.stages.score import as_sources
from instructmine.workdirs import default_workdir, local_folder

EMBEDDED_SHARE = 0.5  # of the rows must have an embedding for a map to speak of the pool


def read_texts(rows: PoolRows, sample: Sample) -> Sampled:
    """Read the sampled rows from the pool; where they cannot be read, say why and give none."""
    given = _pool_of(rows)
    if given is None:
        return Sampled(sample, problem="its manifest is missing, so the pool is not known")
    try:
        pool = _open(rows, given)
        wanted = [
            (rows.sources[rows.source[place]], int(rows.row[place])) for place in sample.positions
        ]
        found = pool.fetch(wanted)
    except (InstructmineError, OSError, KeyError, ValueError) as error:
        return Sampled(sample, problem=f"the pool could not be read: {_first_line(error)}")
    examples, shapes, changed = {}, {}, 0
    for place, row in zip(sample.positions.tolist(), found, strict=True):
        if row.example is None or row.example.id.encode() != rows.ids[place]:
            changed += 1
            continue
        examples[place] = row.example
        shape = pool.shape_of(row)
        shapes[place] = shape.name if shape is not None else "mapped"
    return Sampled(sample, examples, shapes, changed=changed)


def _pool_of(rows: PoolRows) -> Any:
    return rows.manifest.get("arguments", {}).get("pool")


def _open(rows: PoolRows, given: Any) -> Pool:
    return open_pool(as_sources(given), mapping=rows.manifest["arguments"].get("map"))


def _first_line(error: BaseException) -> str:
    return str(error).split("\n")[0]


@dataclass(frozen=True)
class Embedded:
    """Embeddings of the rows, (n, d), NaN where a row has none; or why there are none."""

    values: npt.NDArray[np.float32] | None = None
    absent: str = ""


def read_embeddings(
    rows: PoolRows,
    *,
    embed: bool,
    workdir: str | Path | None,
    device: str,
    threads: int | None,
    progress: Progress | None,
) -> Embedded:
    """Return the embeddings that the run's profile gives, from the store of scores.

    embed: compute what is missing. Otherwise nothing is, and no model is loaded.
    """
    arguments = rows.manifest.get("arguments", {})
    place = workdir or arguments.get("workdir") or default_workdir()
    if not embed and not is_url(place) and not (local_folder(place) / "scores").is_dir():
        return Embedded(absent=MISSING.format(where="there is no store of scores"))
    try:
        run = open_run(
            profile=arguments.get("profile", "starter"), settings=_settings(arguments),
            workdir=place, device=device, threads=threads, progress=progress,
        )  # fmt: skip
        if embed:
            given = _pool_of(rows)
            if given is None:
                return Embedded(
                    absent="No map: the manifest is missing, so nothing can be embedded."
                )
            vectors(run, index_pool(_open(rows, given), progress))
        return _stored(run, rows)
    except InstructmineError as error:
        return Embedded(absent=f"No map: {_first_line(error)}.")


MISSING = (
    "No map and no topics: {where}. `instructmine report … --embed` computes the embeddings they "
    "are made of."
)


def _settings(arguments: Any) -> Sequence[str]:
    return [one for one in arguments.get("set", ()) if one.startswith("embedding.")]


def _stored(run: Run, rows: PoolRows) -> Embedded:
    indicator = run.profile.indicator("embedding")
    recipe = Recipe.of("embedding", indicator.identity())
    column = indicator.columns[0].name
    values = np.asarray(run.store.read(recipe, [column], rows.ids).values[column])
    if values.ndim == 2 and np.isfinite(values).all(axis=1).mean() >= EMBEDDED_SHARE:
        return Embedded(values)
    return Embedded(absent=MISSING.format(where="the embeddings are not stored"))
