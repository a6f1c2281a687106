"""Trainings on prefixes of rankings: what a search for the size is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from instructmine.curves import Point, SizeCurve
from instructmine.designs import Subset
from instructmine.errors import EvidenceError, UsageError
from instructmine.evals import EvalSet
from instructmine.searching import Outcome
from instructmine.stages._index import PoolIndex
from instructmine.stages._ranked import ScoredPool, Strategy
from instructmine.stages._run import Run
from instructmine.stages._strategies import RankingFile
from instructmine.stages._trainings import Training, keys_of, run_trainings
from instructmine.stages._trial import TrialResult, TrialRunner
from instructmine.stages._trial_table import Planned

Job = tuple[int, int]  # size, number of the seed


@dataclass(frozen=True)
class Prefixes:
    """A ranking of which prefixes are trained on. orders: one per seed, best first.

    draws: every seed has an order of its own. remarks: see `Ranking.remarks`.
    """

    name: str
    orders: tuple[npt.NDArray[np.int64], ...]
    seeds: tuple[int, ...]
    draws: bool = False
    remarks: tuple[str, ...] = ()

    def training(self, job: Job) -> Training:
        """Return the rows and the seed of one training."""
        size, number = job
        return Training(np.sort(self.orders[number][:size]), self.seeds[number])


def prefixes(
    name: str,
    one: Strategy | RankingFile,
    scored: ScoredPool,
    seeds: Sequence[int],
    *,
    limit: int,
    draws: bool,
) -> Prefixes:
    """Rank the usable rows, anew with each seed where the strategy draws.

    Raises UsageError for a ranking that ends before `limit`.
    """
    remarks: tuple[str, ...] = ()
    if isinstance(one, RankingFile):
        orders = [one.order(scored.index, scored.free)]
    else:
        own = scored.passing(one)
        rankings = [
            own.rank(one, seed=seed, limit=limit) for seed in (seeds if draws else seeds[:1])
        ]
        orders = [own.free[ranking.order] for ranking in rankings]
        remarks = rankings[0].remarks(limit)
    if len(orders[0]) < limit:
        raise UsageError(
            f"ranking '{name}' holds {len(orders[0]):,} usable rows and {limit:,} are to be "
            "trained on; rank more, or lower --max"
        )
    each = orders if draws else orders * len(seeds)
    return Prefixes(name, tuple(each), tuple(seeds), draws, remarks)


@dataclass
class PrefixRunner:
    """Trains on prefixes and keeps what every training came to, in the order asked for."""

    run: Run
    runner: TrialRunner
    index: PoolIndex
    results: dict[tuple[str, Job], TrialResult] = field(default_factory=dict)
    trained: dict[tuple[str, Job], Training] = field(default_factory=dict)

    @property
    def search_set(self) -> EvalSet:
        """The set that is searched by."""
        return self.runner.sets[0]

    def measure(self, ranking: Prefixes, jobs: Sequence[Job]) -> list[Outcome]:
        """Return the losses on the search set; trainings that all failed are outcomes too."""
        wanted = [ranking.training(job) for job in jobs]
        sizes = sorted({size for size, _ in jobs})
        span = " to ".join(f"{size:,}" for size in dict.fromkeys(sizes[:1] + sizes[-1:]))
        try:
            found = run_trainings(
                self.run, self.runner, self.index, wanted, f"{ranking.name}, {span} rows"
            )
        except EvidenceError:
            keys = keys_of(self.runner, self.index, wanted)
            found = [one for key in keys if (one := self.runner.find(key)) is not None]
        for job, training, one in zip(jobs, wanted, found, strict=True):
            self.results[ranking.name, job] = one
            self.trained[ranking.name, job] = training
        return [self._outcome(job, one) for job, one in zip(jobs, found, strict=True)]

    def forget(self, ranking: str, kept: Mapping[int, Sequence[Outcome]]) -> None:
        """Drop trainings that were measured ahead and did not count any more.

        So the number of workers has no influence on a result.
        """
        for name, (size, number) in list(self.results):
            if name == ranking and number >= len(kept.get(size, ())):
                del self.results[name, (size, number)], self.trained[name, (size, number)]

    def _outcome(self, job: Job, found: TrialResult) -> Outcome:
        facts = found.facts
        losses = None if found.error else np.array(found.losses[self.search_set.name].losses)
        return Outcome(
            losses,
            rows=job[0] * float(facts.get("epochs") or 1),
            seconds=float(facts.get("seconds") or 0),
            tokens=float(facts.get("tokens") or 0),
            error=found.error,
        )

    def curves(self, ranking: str, sizes: Sequence[int]) -> Mapping[str, SizeCurve]:
        """Return eval set → curve over those of the sizes that no training of diverged at."""
        points: dict[str, list[Point]] = {one.name: [] for one in self.runner.sets}
        for size in sizes:
            own = [
                r for (name, job), r in self.results.items() if (name, job[0]) == (ranking, size)
            ]
            if not own or any(one.error for one in own):
                continue
            for name, found in points.items():
                found.append(Point(size, np.array([one.losses[name].losses for one in own])))
        return {name: SizeCurve(found) for name, found in points.items() if found}

    def planned(self) -> list[Planned]:
        """Return one row of the trials table per training."""
        return [
            Planned(number, one.seed, Subset(one.positions, name))
            for number, ((name, _), one) in enumerate(self.trained.items())
        ]
