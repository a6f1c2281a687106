"""Sizes evenly spaced in their logarithm, and plans that are fixed before anything is measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

from instructmine.contracts import SizeRange
from instructmine.errors import UsageError


def log_spaced(sizes: SizeRange, number: int) -> list[int]:
    """Return `number` sizes from end to end, both included, in equal ratios; fewer where they meet.

    One size is the larger end.
    """
    if number == 1 or sizes.minimum == sizes.maximum:
        return [sizes.maximum]
    ratio = math.log(sizes.maximum / sizes.minimum) / (number - 1)
    return sorted({round(sizes.minimum * math.exp(ratio * place)) for place in range(number)})


def check_number(name: str, number: int) -> None:
    """Raise UsageError for a plan of no sizes."""
    if number < 1:
        raise UsageError(f"{name} must be 1 or more, not {number}")


class FixedPlan:
    """Proposes given sizes in order, whatever it is told."""

    def __init__(self, sizes: Iterable[int]) -> None:
        self.left = list(sizes)

    def ask(self) -> int | None:
        """Return the next size of the plan."""
        return self.left.pop(0) if self.left else None

    def tell(self, size: int, loss: float, cost: float) -> None:
        """Take note of nothing."""
