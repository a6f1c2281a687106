"""What asking a model may cost, and a meter that keeps to it.

The limits count what the answers in question cost, whenever they were paid for: a stopped run
that goes on is charged for what it already has.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from instructmine.errors import UsageError
from instructmine.verdicts import Usage

CHARACTERS_PER_TOKEN = 4  # estimate for English where no server has counted
_MILLION = 1_000_000


def estimated_tokens(text: str) -> int:
    """Estimate a text's tokens; scripts beyond Latin take about one a character."""
    wide = sum(ord(char) > 0x2E7F for char in text)
    return wide + -(-(len(text) - wide) // CHARACTERS_PER_TOKEN)


@dataclass(frozen=True)
class Limits:
    """Bounds and prices. Prices are money per million tokens; None: not known."""

    max_requests: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that cannot be kept. Raises UsageError."""
        given = (self.max_requests, self.max_cost, self.price_in, self.price_out)
        if any(value is not None and value < 0 for value in given):
            raise UsageError("limits and prices must be 0 or more")
        if self.max_cost is not None and (self.price_in is None or self.price_out is None):
            raise UsageError(
                "--max-cost needs the prices: --price-in and --price-out, per million tokens"
            )

    def cost(self, usage: Usage) -> float | None:
        """Return what a usage costs, or None where prices are not known."""
        if self.price_in is None or self.price_out is None:
            return None
        return (usage.tokens_in * self.price_in + usage.tokens_out * self.price_out) / _MILLION


class Meter:
    """Adds up usage and says when a further request would pass a limit; safe in threads.

    A request reserves its estimate before it is sent, so that requests under way at once cannot
    pass the limit together.
    """

    def __init__(self, limits: Limits | None = None, spent: Usage | None = None) -> None:
        self.limits = limits or Limits()
        self.spent = spent or Usage()
        self.refused = 0
        self._reserved = Usage()
        self._lock = threading.Lock()

    def recall(self, usage: Usage) -> None:
        """Count what was paid for in an earlier run."""
        with self._lock:
            self.spent += usage

    def reserve(self, estimate: Usage) -> bool:
        """Tell whether a request of this size may be sent, and set it aside if so."""
        with self._lock:
            after = self.spent + self._reserved + estimate
            most, budget = self.limits.max_requests, self.limits.max_cost
            if most is not None and after.requests > most:
                return self._refuse()
            if budget is not None and (self.limits.cost(after) or 0.0) > budget:
                return self._refuse()
            self._reserved += estimate
            return True

    def settle(self, estimate: Usage, actual: Usage) -> None:
        """Replace a reservation by what the request took."""
        with self._lock:
            self._reserved += Usage(-estimate.requests, -estimate.tokens_in, -estimate.tokens_out)
            self.spent += actual

    def _refuse(self) -> bool:
        self.refused += 1
        return False
