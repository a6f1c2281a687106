"""Searchers for the size on known curves: what each costs until it is within 1 % of the best.

Made-up curves have new noise for every seed. Recorded ones are the grids of
`studies/size-curve/results/`: the losses of every seed and prompt, interpolated in the logarithm
of the size. blend needs FLAML, `pip install 'instructmine[search]'`. "flaml.tune.run" is FLAML as
its documents have it: BlendSearch from the smallest size on, told the mean of three trainings and
their cost, for as many sizes as its budget; it ends by that alone.

The ratios are of the trainings until the best size that the search knew was within 1 % of the
best, added up over all curves, once per seed; a search that never got there counts with all its
trainings, and how often that was is said.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    from benchmarks import _report
except ImportError:  # run as a file
    import _report

RECORDED = Path(__file__).parents[1] / "studies/size-curve/results"
LOW, HIGH, POINTS = 512, 10_000, 32  # range of the made-up curves, and their points
SEEDS, PROMPTS, SEED_SD, TASTE_SD = 3, 80, 0.004, 0.03  # as the starter LM's trainings have them
SMOOTH: dict[str, Callable[[float], float]] = {
    "made up: minimum inside": lambda n: 2 + 0.02 * math.log(n / 2500) ** 2,
    "made up: falling": lambda n: 2 + 1.5 * n**-0.3,
    "made up: levels off": lambda n: 2 + 0.08 * max(0.0, math.log(2000 / n)),
    "made up: bump": lambda n: (
        2 + 1.5 * n**-0.3 + 0.12 * math.exp(-(math.log(n / 1800) ** 2) / 0.2)
    ),
    "made up: dip behind a rise": lambda n: (
        2
        + 0.05 * math.exp(-(math.log(n / 1500) ** 2) / 0.15)
        - 0.06 * math.exp(-(math.log(n / 4500) ** 2) / 0.15)
    ),
}
HARD = ("made up: dip behind a rise",)  # made to be missed by what follows slopes


def searchers() -> dict[str, Any]:
    """Return the contenders by name."""
    from instructmine.searchers.blend import Blend
    from instructmine.searchers.grid import Grid
    from instructmine.searchers.halving import Halving
    from instructmine.searchers.random import RandomSizes

    return {
        "blend": Blend(),
        "blend, FLAML's own": Blend(ends=False, resolution=1.0),
        "flaml.tune.run": FlamlItself(),
        "grid of 5": Grid(number=5),
        "grid of 8": Grid(number=8),
        "grid of 12": Grid(number=12),
        "random, 8": RandomSizes(number=8),
        "halving of 12": Halving(number=12),
    }


def made_up(shape: Callable[[float], float], seed: int) -> Any:
    """Return a curve with noise of its own between seeds, sizes and prompts."""
    from instructmine.curves import Point, SizeCurve

    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 0.6, PROMPTS)
    difficulty -= difficulty.mean()
    points = []
    for size in np.unique(np.geomspace(LOW, HIGH, POINTS).round().astype(int)):
        noise = rng.normal(0, SEED_SD, (SEEDS, 1)) + rng.normal(0, TASTE_SD, (SEEDS, PROMPTS))
        points.append(Point(int(size), shape(float(size)) + difficulty + noise))
    return SizeCurve(points)


def recorded() -> Iterator[tuple[str, Any]]:
    """Yield the recorded curves by name: the file and the ranking."""
    from instructmine.curves import Point, SizeCurve

    for path in sorted(RECORDED.glob("*.curves.json")):
        for ranking, sizes in json.loads(path.read_text(encoding="utf-8")).items():
            points = [Point(int(size), np.array(losses)) for size, losses in sizes.items()]
            name = path.name.removesuffix(".curves.json")
            yield f"{name}: {ranking}", SizeCurve(points)


class FlamlItself:
    """FLAML without us: `flaml.tune.run`, a number of sizes for a budget."""

    budget = 24  # sizes

    def replay(self, curve: Any, seed: int) -> Any:
        """Search a curve; return what `instructmine.replay` returns of a search."""
        import contextlib
        import io

        from flaml import tune
        from flaml.tune.searcher.blendsearch import BlendSearch

        from instructmine.replay import REACHED, Replay, interpolated

        at, seeds = interpolated(curve), curve.points[0].seeds
        lowest = min(one.loss for one in curve.eligible)
        tried: list[tuple[float, int]] = []  # loss and size, one for every proposal

        def train(config: dict[str, Any]) -> dict[str, float]:
            size = int(config["size"])
            outcomes = at([(size, number) for number in range(seeds)])
            tried.append((float(np.mean([one.losses for one in outcomes])), size))
            return {"loss": tried[-1][0], "cost": float(size)}

        low, high = curve.sizes[0], curve.sizes[-1]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            searcher = BlendSearch(
                metric="loss", mode="min", space={"size": tune.lograndint(low, high + 1)},
                low_cost_partial_config={"size": low}, cost_attr="cost", seed=seed,
            )  # fmt: skip
            tune.run(train, search_alg=searcher, num_samples=self.budget, verbose=0)
        enough = (1 + REACHED) * lowest
        first = next((n for n, (loss, _) in enumerate(tried, 1) if loss <= enough), None)
        rows = np.cumsum([seeds * size for _, size in tried])
        loss, size = min(tried)
        return Replay(
            trials=seeds * len(tried), rows=float(rows[-1]),
            trials_to=first and seeds * first, rows_to=first and float(rows[first - 1]),
            size=size, excess=loss / lowest - 1,
        )  # fmt: skip


def replays(curve_of: Callable[[int], Any], searcher: Any, runs: int) -> list[Any]:
    """Search a curve with so many seeds."""
    from instructmine.contracts import SizeRange
    from instructmine.replay import replay
    from instructmine.searching import Limits

    found = []
    for seed in range(runs):
        curve = curve_of(seed)
        if isinstance(searcher, FlamlItself):
            found.append(searcher.replay(curve, seed))
            continue
        sizes = SizeRange(curve.sizes[0], curve.sizes[-1], curve.points[0].seeds)
        found.append(replay(searcher, sizes, curve, seed=seed, limits=Limits()))
    return found


def measure(found: Sequence[Any]) -> dict[str, Any]:
    """Return the medians over searches of one curve."""
    runs = len(found)
    reached = [one for one in found if one.trials_to is not None]
    return {
        "within 1 %": f"{len(reached) / runs:.0%}",
        "after trainings": _median([one.trials_to for one in reached]),
        "after rows": _median([one.rows_to for one in reached]),
        "trainings": _median([one.trials for one in found]),
        "rows": _median([one.rows for one in found]),
        "chosen above lowest": f"{100 * np.mean([one.excess for one in found]):.2f} %",
    }


def _median(values: Sequence[Any]) -> int | str:
    return round(float(np.median(values))) if values else "never"


PEERS = {
    "flaml.tune.run": (_report.SHIPPED, ("FLAML", "optuna")),
    "grid of 8": (_report.PLAIN, ()),
    "random, 8": (_report.PLAIN, ()),
    "halving of 12": (_report.PLAIN, ()),
}


def comparisons(found: dict[tuple[str, str], list[Any]], names: Sequence[str]) -> list[Any]:
    """Compare blend with the others by trainings until within 1 %, per seed over the curves."""
    turns = _report.Turns()
    share: dict[str, str] = {}
    for who in ("blend", *PEERS):
        per_curve = [found[name, who] for name in names]
        for runs in zip(*per_curve, strict=True):  # of one seed
            turns.add(who, sum(one.trials_to or one.trials for one in runs))
        every = [one for runs in per_curve for one in runs]
        share[who] = f"{sum(one.trials_to is not None for one in every) / len(every):.0%}"
    runs = len(turns.seconds["blend"])
    return [
        _report.compared(
            turns, f"searching {len(names)} curves, {runs} seeds", who, ours="blend", how=how,
            quantity="trainings until within 1 %", packages=packages,
            equality=f"within 1 % in {share['blend']} of the searches against {share[who]}",
        )
        for who, (how, packages) in PEERS.items()
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; exit with an error where BlendSearch misses what a grid finds."""
    options = _report.parser(main.__doc__ or "")
    options.add_argument("--runs", type=int, default=20, help="seeds of every search")
    given = options.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable()  # FLAML and optuna tell about every step
    curves: dict[str, Callable[[int], Any]] = {
        name: lambda seed, shape=shape: made_up(shape, seed) for name, shape in SMOOTH.items()
    }
    curves |= {name: lambda _, curve=curve: curve for name, curve in recorded()}
    rows = []
    found: dict[tuple[str, str], list[Any]] = {}
    for name, curve_of in curves.items():
        for who, searcher in searchers().items():
            found[name, who] = replays(curve_of, searcher, given.runs)
            rows.append({"curve": name, "who": who, **measure(found[name, who])})
    title = "Searching for the size, medians over seeds, three trainings a size"
    compared = comparisons(found, list(curves))
    _report.show(title, rows, given.out, compared)
    lost = [
        r["curve"]
        for r in rows
        if r["who"] == "blend" and r["curve"] not in HARD and r["within 1 %"] != "100%"
    ]
    if lost:
        sys.exit(f"blend did not always come within 1 % on {', '.join(lost)}")


if __name__ == "__main__":
    main()
