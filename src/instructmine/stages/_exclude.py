"""Rows that cannot be chosen, each with its reason: unscorable, contaminated, duplicate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instructmine.decontaminate import Decontaminator, EvalPrompt
from instructmine.dedup import Duplicates, exact_duplicates, near_duplicates, text_of
from instructmine.errors import UsageError
from instructmine.formats import open_prompts
from instructmine.plugins import unknown
from instructmine.scores import ScoreTable
from instructmine.stages._index import PoolIndex


class Exclusions:
    """Gathers reasons row by row; the first reason found for a row stands."""

    def __init__(self, index: PoolIndex) -> None:
        self.index = index
        self.reasons: list[str | None] = [None] * len(index)
        self.warnings: list[str] = []

    def free(self) -> npt.NDArray[np.int64]:
        """Return the positions without a reason."""
        return np.array([p for p, reason in enumerate(self.reasons) if reason is None], np.int64)

    def counts(self) -> dict[str, int]:
        """Return how many rows were left out, by the first words of the reason."""
        heads = (r.split(" of ")[0].split(" by ")[0].split(":")[0] for r in self.reasons if r)
        return dict(Counter(heads).most_common())

    def overlapping(self, hits: Mapping[int, str]) -> None:
        """Exclude rows that occur in an evaluation set: position → evaluation row."""
        for position, hit in hits.items():
            self.reasons[position] = f"contaminated by {hit}"

    def unscorable(self, rows: npt.NDArray[np.bool_], scores: ScoreTable) -> None:
        """Exclude rows that lack a score the rule or the selector reads."""
        errors = scores.table.column("errors")
        for position in np.flatnonzero(rows):
            self.reasons[position] = f"unscorable: {errors[int(position)].as_py() or 'no value'}"

    def gated(self, rows: npt.NDArray[np.bool_], gate: str) -> None:
        """Exclude rows that do not pass a quality gate."""
        for position in np.flatnonzero(rows):
            if self.reasons[position] is None:
                self.reasons[position] = f"gated: not {gate}"

    def contaminated(self, evaluations: Sequence[str | Path]) -> None:
        """Exclude rows whose prompt occurs in one of the evaluation files."""
        if not evaluations:
            return
        prompts = open_prompts(list(evaluations))
        decontaminator = Decontaminator(EvalPrompt(*prompt) for prompt in prompts)
        for position, example in self.index.examples(self._mask()):
            hit = decontaminator.check(example)
            if hit is not None:
                self.reasons[position] = f"contaminated by {hit}"
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
        self._mark(free, exact_duplicates(self.index.ids[free], own), "duplicate")
        if kind == "near":
            free, own = self._free_and(quality)
            texts = (text_of(example) for _, example in self.index.examples(self._mask()))
            found = near_duplicates(texts, self.index.ids[free], own)
            self._mark(free, found, "near-duplicate")

    def _mark(self, free: npt.NDArray[np.int64], found: Duplicates, word: str) -> None:
        index = self.index
        for position in np.flatnonzero(~found.kept):
            other = free[found.of[position]]
            place = f"{index.sources[index.source[other]]}:{index.row[other]}"
            self.reasons[free[position]] = f"{word} of {place}"

    def _mask(self) -> npt.NDArray[np.bool_]:
        mask = np.zeros(len(self.index), dtype=bool)
        mask[self.free()] = True
        return mask

    def _free_and(
        self, quality: npt.NDArray[np.float64] | None
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64] | None]:
        free = self.free()
        return free, None if quality is None else quality[free]
