"""Budgets: how many leading places of a ranking are taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from instructmine.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """Exactly one of: rows, a fraction of the readable pool rows, prompt + response tokens."""

    size: int | None = None
    fraction: float | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse none or several, and what is not positive."""
        given = [value for value in (self.size, self.fraction, self.tokens) if value is not None]
        if len(given) != 1:
            raise UsageError("give exactly one of --size, --fraction and --tokens")
        if given[0] <= 0 or (self.fraction is not None and self.fraction > 1):
            raise UsageError(f"a budget of {given[0]} is out of range; see `select --help`")

    def limit(self, pool_rows: int, tokens: npt.NDArray[np.float64]) -> int:
        """Return the most places that can be taken from candidates with these token counts.

        Raises UsageError when more rows are asked for than there are candidates.
        """
        if self.tokens is not None:
            return int(np.searchsorted(np.cumsum(np.sort(tokens)), self.tokens, side="right"))
        if self.size is not None:
            size, asked = self.size, f"--size {self.size}"
        else:
            assert self.fraction is not None
            size, asked = round(self.fraction * pool_rows), f"--fraction {self.fraction}"
        if size > len(tokens):
            raise UsageError(
                f"{asked} asks for {size} rows, but only {len(tokens)} of {pool_rows} can be "
                "chosen (the rest are gated, duplicates, contaminated or unscorable); ask for fewer"
            )
        return size

    def taken(self, limit: int, tokens_in_order: npt.NDArray[np.float64]) -> int:
        """Return how many leading places fit, for candidates in ranked order.

        A token budget takes the longest prefix that does not exceed it.
        """
        if self.tokens is None:
            return limit
        return int(np.searchsorted(np.cumsum(tokens_in_order), self.tokens, side="right"))
