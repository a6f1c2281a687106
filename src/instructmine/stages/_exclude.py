"""Rows that cannot be chosen, each with its reason: unscorable, contaminated, duplicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from instructmine.decontaminate import Decontaminator, EvalPrompt
from instructmine.dedup import Duplicates, exact_duplicates, near_duplicates, text_of
from instructmine.errors import UsageError
from instructmine.formats import open_prompts
from instructmine.plugins import unknown
from instructmine.results import count_reasons
from instructmine.scores import ScoreTable
from instructmine.stages._columns import scattered, spans, sparse
from instructmine.stages._index import PoolIndex

_COPIES = ("duplicate", "near-duplicate")


class Exclusions:
    """Gathers reasons row by row; the first reason found for a row stands."""

    def __init__(self, index: PoolIndex) -> None:
        self.index = index
        self.warnings: list[str] = []
        self._free = np.ones(len(index), dtype=bool)
        self._stated: dict[int, str] = {}
        # A pool may hold millions of copies: of those no text is kept, but what it is made of.
        self._copied = np.zeros(len(index), dtype=np.uint8)  # 1 + place in _COPIES
        self._kept = np.empty(0, dtype=np.int64)  # the row that stands for a copy

    def free(self) -> npt.NDArray[np.int64]:
        """Return the positions without a reason."""
        return np.flatnonzero(self._free)

    def stated(self) -> list[str]:
        """Return the reasons so far, those of duplicates left out."""
        return list(self._stated.values())

    def reasons(self) -> pa.ChunkedArray:
        """Return the reason of every row, (n,), null where there is none."""
        others = sparse(len(self.index), self._stated)
        if not self._copied.any():
            return others
        chunks = []
        for span in spans(len(self.index)):
            rows = span.start + np.flatnonzero(self._copied[span])
            chunks.append(scattered(span, rows, self._copies(rows)))
        return pc.coalesce(others, pa.chunked_array(chunks))

    def _copies(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        index, kept = self.index, self._kept[rows]
        return pc.binary_join_element_wise(
            pa.array([f"{word} of " for word in _COPIES]).take(pa.array(self._copied[rows] - 1)),
            pa.array(index.sources, pa.string()).take(pa.array(index.source[kept])),
            ":",
            pa.array(index.row[kept]).cast(pa.string()),
            "",
        )

    def counts(self) -> dict[str, int]:
        """Return how many rows were left out, by the first words of the reason."""
        return count_reasons(self.reasons())

    def overlapping(self, hits: Mapping[int, str]) -> None:
        """Exclude rows that occur in an evaluation set: position → evaluation row."""
        for position, hit in hits.items():
            self._state(position, f"contaminated by {hit}")

    def _state(self, position: int, reason: str) -> None:
        self._stated[position] = reason
        self._free[position] = False

    def unscorable(
        self, rows: npt.NDArray[np.bool_], scores: ScoreTable, why: str = "no value"
    ) -> None:
        """Exclude rows that lack a score the rule or the selector reads; why: where none says."""
        errors = scores.table.column("errors")
        for position in np.flatnonzero(rows & self._free).tolist():
            self._state(position, f"unscorable: {errors[position].as_py() or why}")

    def gated(self, rows: npt.NDArray[np.bool_], gate: str) -> None:
        """Exclude rows that do not pass a quality gate."""
        for position in np.flatnonzero(rows & self._free).tolist():
            self._state(position, f"gated: not {gate}")

    def contaminated(self, evaluations: Sequence[str | Path]) -> None:
        """Exclude rows whose prompt occurs in one of the evaluation files."""
        if not evaluations:
            return
        prompts = open_prompts(list(evaluations))
        decontaminator = Decontaminator(EvalPrompt(*prompt) for prompt in prompts)
        for position, example in self.index.examples(self._free.copy()):
            hit = decontaminator.check(example)
            if hit is not None:
                self._state(position, f"contaminated by {hit}")
        if prompts.rejected:
            first = prompts.rejected[0]
            self.warnings.append(
                f"{len(prompts.rejected)} evaluation rows hold no prompt and were not compared; "
                f"first {first.source}:{first.row}: {first.rejection}"
            )

    def duplicates(self, kind: str, quality: npt.NDArray[np.float64] | None) -> None:
        """Exclude all but the best copy: `exact`, `near` (exact first), or `none`.

        Raises UsageError for another kind.
        """
        if kind not in ("exact", "near", "none"):
            raise UsageError(unknown("kind of dedup", kind, ("exact", "near", "none")))
        if kind == "none":
            return
        free, own = self._free_and(quality)
        self._mark(free, exact_duplicates(self.index.ids[free], own), 1)
        if kind == "near":
            free, own = self._free_and(quality)
            texts = (text_of(example) for _, example in self.index.examples(self._free.copy()))
            found = near_duplicates(texts, self.index.ids[free], own)
            self._mark(free, found, 2)

    def _mark(self, free: npt.NDArray[np.int64], found: Duplicates, word: int) -> None:
        copies = np.flatnonzero(~found.kept)
        if not len(copies):
            return
        if not len(self._kept):
            self._kept = np.zeros(len(self.index), dtype=np.int64)
        self._kept[free[copies]] = free[found.of[copies]]
        self._copied[free[copies]] = word
        self._free[free[copies]] = False

    def _free_and(
        self, quality: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
        free = self.free()
        return free, None if quality is None else quality[free]
