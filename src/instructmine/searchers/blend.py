"""BlendSearch (Wang et al. 2021, ICLR), InstructMining's search for the size; FLAML computes it.

Local searches that begin where training is cheap are blended with a global one. What a proposal
cost decides which of them goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from instructmine.contracts import Search, Searcher, SizeRange
from instructmine.errors import UsageError
from instructmine.searchers._sizes import check_number, log_spaced

DIVERGED = 1e3  # told for a size whose training diverged: above any loss, and still a number


@dataclass(frozen=True, kw_only=True)
class Blend(Searcher):
    """Searches log-uniform from the smallest size on, which is the cheapest to train.

    ends: propose the largest size second. FLAML by itself widens its search step by step from
    where it began, and on a curve that rises before it falls again it stays left of the rise;
    one dear training shows it the other side. With false it is FLAML's BlendSearch as it comes.
    resolution: two sizes whose ratio is below this count as one, for no loss can tell them apart;
    FLAML takes steps of less than 1 %. A proposal that falls on a measured one is answered with
    its loss.
    repeats: so many proposals in a row without a new size end the search.
    """

    requires: ClassVar[tuple[str, ...]] = ("flaml", "optuna")
    open_ended: ClassVar[bool] = True

    ends: bool = True
    resolution: float = 1.05
    repeats: int = 30

    def __post_init__(self) -> None:
        """Refuse a resolution below 1 and no repeats at all."""
        if not 1 <= self.resolution < math.inf:
            raise UsageError(f"blend.resolution must be 1 or more, not {self.resolution}")
        check_number("blend.repeats", self.repeats)

    def open(self, sizes: SizeRange, *, seed: int) -> Search:
        """Begin: FLAML's own draws come from the seed."""
        return _Blending(self, sizes, seed)


class _Blending:
    """FLAML's search, one proposal at a time, on sizes of the resolution."""

    def __init__(self, options: Blend, sizes: SizeRange, seed: int) -> None:
        self.repeats = options.repeats
        self.sizes = sizes
        self.steps = _steps(sizes, options.resolution)
        self.told: dict[int, tuple[float, float]] = {}  # size → loss, cost
        self.waiting: dict[int, tuple[str, int]] = {}  # size → FLAML's proposal that led to it
        self.count = 0
        self.ended = False
        with _quiet():
            from flaml.tune.sample import lograndint
            from flaml.tune.searcher.blendsearch import BlendSearch

            self.flaml = BlendSearch(
                metric="loss",
                mode="min",
                space={"size": lograndint(sizes.minimum, sizes.maximum + 1)},
                low_cost_partial_config={"size": sizes.minimum},
                points_to_evaluate=[{"size": size} for size in _both(sizes)]
                if options.ends
                else [],
                cost_attr="cost",
                seed=seed,
            )

    def ask(self) -> int | None:
        """Return a size that was not measured yet; None while one waits to be told."""
        if self.waiting or self.ended:
            return None
        for _ in range(self.repeats):
            self.count += 1
            name = str(self.count)
            with _quiet():
                found = self.flaml.suggest(name)
            if found is None:  # it has nothing to say just now, and may have the next time
                continue
            exact = int(found["size"])  # a numpy integer now and then
            size = min(self.steps, key=lambda step: abs(math.log(step / exact)))
            if size not in self.told:
                self.waiting[size] = (name, exact)
                return size
            self._complete(name, exact, size)
        self.ended = True
        return None

    def tell(self, size: int, loss: float, cost: float) -> None:
        """Pass a loss on to FLAML; that of a size it did not propose is kept as an answer."""
        self.told[size] = (DIVERGED if math.isnan(loss) else loss, cost)
        if size in self.waiting:
            self._complete(*self.waiting.pop(size), size)

    def _complete(self, name: str, exact: int, size: int) -> None:
        """Tell FLAML about its proposal what is known of the size that stands for it."""
        loss, cost = self.told[size]
        with _quiet():
            self.flaml.on_trial_complete(name, {"loss": loss, "cost": cost, "config/size": exact})


def _both(sizes: SizeRange) -> list[int]:
    return list(dict.fromkeys((sizes.minimum, sizes.maximum)))


def _steps(sizes: SizeRange, resolution: float) -> list[int]:
    """Return the sizes that are told apart: all of them, or some in ratios of the resolution."""
    if resolution == 1:
        return list(range(sizes.minimum, sizes.maximum + 1))
    number = 1 + math.ceil(math.log(sizes.maximum / sizes.minimum) / math.log(resolution))
    return log_spaced(sizes, number)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence FLAML and optuna, and hide ray from FLAML: with it it would propose other sizes."""
    absent: Any = object()
    ray, disabled = sys.modules.get("ray", absent), logging.root.manager.disable
    sys.modules["ray"] = None  # type: ignore[assignment]
    logging.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        if ray is absent:
            del sys.modules["ray"]
        else:
            sys.modules["ray"] = ray
