"""How close an example is to the kind of work the tuned model is for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from instructmine import plugins
from instructmine.contracts import Batch, Column, Context, Indicator, Scored, Scorer
from instructmine.errors import PoolError, UsageError
from instructmine.identity import ids_digest
from instructmine.pool import Example

_ROWS = 4096  # rows compared with all targets at once


def _embedding() -> Indicator:
    made: Indicator = plugins.load("indicators", "embedding", Indicator)()
    return made


@dataclass(frozen=True, kw_only=True)
class TargetSimilarity(Indicator):
    """Cosine between an example and the nearest of the user's target examples.

    Higher means closer. RDS+ (Ivison et al. 2025, arXiv 2503.01807) with any encoder. The
    targets are part of the identity by their content: moving or renaming the file recomputes
    nothing, changing an example recomputes all.

    target: file of target examples (any pool format). nearest: mean over so many nearest
    targets instead of the one; more than there are means all. embedding: the encoder's config.
    Grows as n × targets × d.

    Not covered: whether the response is good. And an evaluation on the target examples
    themselves proves nothing: keep them apart.
    """

    version: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ("embedding",)
    reads_text: ClassVar[bool] = False
    target: str | None = None
    nearest: int = 1
    embedding: Indicator = field(default_factory=_embedding)

    def __post_init__(self) -> None:
        """Refuse fewer than one nearest target."""
        if self.nearest < 1:
            raise UsageError(f"target_similarity.nearest counts from 1, not {self.nearest}")

    @property
    def columns(self) -> tuple[Column, ...]:
        """`target_similarity`, a cosine."""
        return (Column("target_similarity", "higher", "cosine"),)

    def identity(self) -> dict[str, Any]:
        """Identify the targets by their examples' ids, never by the path."""
        ids = [example.id.encode() for example in target_examples(self.target)]
        return {
            "type": type(self).__name__,
            "version": self.version,
            "target": ids_digest(ids),
            "nearest": self.nearest,
            "embedding": self.embedding.identity(),
        }

    def open(self, context: Context, columns: Sequence[str]) -> Scorer:
        """Embed the targets with the same encoder as the pool."""
        examples = target_examples(self.target)
        matrix = embed_targets(self.embedding, examples, context)
        return _TargetScorer(matrix, self.nearest)


class _TargetScorer:
    def __init__(self, targets: npt.NDArray[np.float32], nearest: int) -> None:
        self.targets = _unit(targets)
        self.nearest = min(nearest, len(targets))

    def score(self, batch: Batch) -> Scored:
        """Score rows by `batch.inputs["embedding"]`, (n, d)."""
        vectors = np.asarray(batch.inputs["embedding"])
        values = np.full(len(vectors), np.nan)
        usable = np.flatnonzero(np.isfinite(vectors).all(axis=1))
        for start in range(0, len(usable), _ROWS):
            rows = usable[start : start + _ROWS]
            values[rows] = self._similarity(_unit(vectors[rows]))
        missing = np.flatnonzero(np.isnan(values)).tolist()
        return Scored({"target_similarity": values}, dict.fromkeys(missing, "no embedding"))

    def _similarity(self, vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        cosines = vectors @ self.targets.T
        last = cosines.shape[1] - self.nearest
        found = np.argpartition(cosines, last, axis=1)[:, last:]
        # A product's last bits depend on the shape of the batch; a row's own sum does not.
        exact = np.stack(
            [(vectors * self.targets[found[:, m]]).sum(axis=1) for m in range(self.nearest)]
        )
        return np.asarray(np.sort(exact, axis=0).mean(axis=0), dtype=np.float64)


def target_examples(target: str | None) -> tuple[Example, ...]:
    """Read the examples of a target file.

    Raises UsageError when no file is named, PoolError when it holds no example.
    """
    if not target:
        raise UsageError("target_similarity needs target examples; pass --target FILE")
    path = Path(target).expanduser()
    if not path.is_file():
        raise UsageError(f"target file {target} does not exist; pass --target FILE")
    stat = path.stat()
    return _read_targets(str(path), stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_targets(path: str, _size: int, _mtime_ns: int) -> tuple[Example, ...]:
    from instructmine.formats import read_examples

    return tuple(read_examples(path, "target"))


def embed_targets(
    embedding: Indicator, examples: Sequence[Example], context: Context
) -> npt.NDArray[np.float32]:
    """Return (t, d) embeddings of the targets; those that have none are left out.

    Raises PoolError when none of them can be embedded.
    """
    ids = np.array([example.id.encode() for example in examples], dtype="S32")
    column = embedding.columns[0].name
    scored = embedding.open(context, (column,)).score(Batch(ids, examples))
    matrix = np.asarray(scored.values[column], dtype=np.float32)
    matrix = matrix[np.isfinite(matrix).all(axis=1)]
    if not len(matrix):
        reason = next(iter(scored.reasons.values()), "no values")
        raise PoolError(f"no target example can be embedded ({reason}); check the target file")
    return matrix


def _unit(vectors: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return rows at unit length; a zero row stays zero."""
    double = vectors.astype(np.float64)
    lengths = np.sqrt(np.square(double).sum(axis=1, keepdims=True))
    return double / np.where(lengths > 0, lengths, 1)
