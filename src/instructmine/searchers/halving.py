"""Successive halving (Jamieson & Talwalkar 2016, AISTATS): sizes are the arms, seeds the resource.

Every size is trained with one seed, the better half with a second, the better half of those with
four in all, and so on up to the seeds that a size may get. A training with another seed is a
further draw of the same loss, so a mean over more of them is the same quantity measured better;
that is what the method asks of a resource. Fewer epochs or steps would be cheaper still, but they
measure another quantity: a shorter training has its optimum at another size. Rows cannot be the
resource either, for they are what is searched.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.searchers._sizes import check_number, log_spaced


@dataclass(frozen=True, kw_only=True)
class Halving(Searcher):
    """Spreads `number` sizes as a grid does and gives the better half of each rung more seeds."""

    seeds_per_ask: ClassVar[int | None] = 1

    number: int = 12

    def __post_init__(self) -> None:
        """Refuse halving nothing."""
        check_number("halving.number", self.number)

    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin; nothing is drawn, so the seed has no say."""
        return _Rungs(log_spaced(sizes, self.number), sizes.seeds)


class _Rungs:
    """One rung after the other; seeds of a rung are asked for together."""

    def __init__(self, arms: list[int], seeds: int) -> None:
        self.arms, self.most = arms, seeds
        self.seeds = 1  # that each arm of the rung has in the end
        self.losses: dict[int, float] = {}
        self.left = list(arms)
        self.waiting: list[int] = []

    def ask(self) -> int | None:
        """Return the next size of the rung; None until all of the rung are told."""
        if not self.left and not self.waiting:
            self._climb()
        if not self.left:
            return None
        self.waiting.append(self.left.pop(0))
        return self.waiting[-1]

    def tell(self, size: int, loss: float, cost: float) -> None:
        """Keep the latest mean of a size; a diverged one goes behind all others."""
        if size in self.waiting:
            self.waiting.remove(size)
            self.losses[size] = math.inf if math.isnan(loss) else loss

    def _climb(self) -> None:
        """Keep the better half, best first, and ask for its further seeds.

        Where a budget ends in the middle of a rung, it is the best that have got their seeds.
        """
        alive = [size for size in self.arms if math.isfinite(self.losses.get(size, math.inf))]
        more = min(2 * self.seeds, self.most) - self.seeds
        if not alive or more == 0:
            return
        half = math.ceil(len(self.arms) / 2)
        self.arms = sorted(alive, key=lambda size: (self.losses[size], size))[:half]
        self.seeds += more
        self.left = self.arms * more
