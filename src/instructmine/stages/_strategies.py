"""The strategies that `compare` knows by name, and rankings read from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from instructmine import plugins
from instructmine.comparison import BASE, FULL, RANDOM
from instructmine.errors import UsageError
from instructmine.formats import read_examples
from instructmine.stages._index import PoolIndex
from instructmine.stages._ranked import Strategy, strategy
from instructmine.stages._run import Run


@dataclass(frozen=True)
class Recipe:
    """What stands behind a name. rule: None is the rule that the user gave."""

    selector: str
    rule: str | None = None
    within: float | None = None
    stratify: str | None = None


NAMED: Mapping[str, Recipe] = {
    RANDOM: Recipe("random"),
    "random-balanced": Recipe("random", stratify="source-equal"),
    "longest": Recipe("longest"),
    "longest-in-quantile": Recipe("longest-in-quantile"),
    "perplexity-middle": Recipe("middle", rule="perplexity"),
    "perplexity-top": Recipe("top", rule="perplexity:higher"),
    "ifd": Recipe("ifd"),
    "reward": Recipe("top", rule="reward"),
    "kcenter": Recipe("kcenter", rule="reward"),
    "deita": Recipe("deita", rule="reward"),
    "cluster-balanced": Recipe("cluster-balanced", rule="reward"),
    "target": Recipe("target", rule="reward"),
    "rule": Recipe("top"),
    "rule+diversity": Recipe("deita"),
    "target-in-rule": Recipe("target", within=0.5),
}
DRAWN = ("random", "random-balanced")  # every seed draws its own rows
USUAL = (BASE, RANDOM, "random-balanced", "longest", "reward", "rule")
WITH_TARGET = ("target", "target-in-rule")


@dataclass(frozen=True)
class RankingFile:
    """A ranking that somebody else made: ids, best first."""

    name: str
    ids: npt.NDArray[np.bytes_]

    def order(self, index: PoolIndex, free: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the usable rows it ranks, best first, as positions in the pool.

        Raises UsageError for ids that the pool does not hold.
        """
        place = dict(zip(index.ids[free].tolist(), free.tolist(), strict=True))
        known = set(index.ids.tolist())
        strange = [one for one in self.ids.tolist() if one not in known]
        if strange:
            raise UsageError(
                f"{len(strange)} of {len(self.ids)} rows of {self.name} are not in the pool "
                f"(first: {strange[0].decode()}); rank the same pool"
            )
        found = dict.fromkeys(place[one] for one in self.ids.tolist() if one in place)
        return np.fromiter(found, dtype=np.int64, count=len(found))


Entrant = Strategy | RankingFile | str  # the string is `base` or `full`


def entrants(
    run: Run, names: Sequence[str], *, rule: str | None, target: str | Path | None
) -> dict[str, Entrant]:
    """Return what takes part, by name; random always does, since everything is held against it.

    A name is one of `NAMED`, `base`, `full`, `rule:RULE` for any other rule, a selector, or a
    file: a table with `id` and `rank`, or chosen rows, best first. `all` stands for every name
    that can be had. Raises UsageError for anything else.
    """
    wanted: list[str] = []
    for name in names or (*USUAL, *(WITH_TARGET if target else ())):
        every = (BASE, FULL, *(one for one in NAMED if target or one not in WITH_TARGET))
        wanted += every if name == "all" else [name]
    made = {name: _entrant(run, name, rule) for name in dict.fromkeys((RANDOM, *wanted))}
    return {name: _without_unread_rule(one) for name, one in made.items()}


def _without_unread_rule(one: Entrant) -> Entrant:
    """Take away a rule that the selector does not read: it would be charged for the scores."""
    if isinstance(one, Strategy) and not one.selector.uses_quality:
        return replace(one, rule=None)
    return one


def _entrant(run: Run, name: str, rule: str | None) -> Entrant:
    if name in (BASE, FULL):
        return name
    if name in NAMED:
        made = NAMED[name]
        return strategy(
            run, made.selector, name=name, rule=made.rule or rule,
            within=made.within, stratify=made.stratify,
        )  # fmt: skip
    if name.startswith("rule:"):
        return strategy(run, "top", name=name, rule=name.removeprefix("rule:"))
    if plugins.spelling("selectors", name) in plugins.names("selectors"):
        return strategy(run, name, rule=rule)
    if Path(name).is_file():
        return read_ranking(Path(name))
    known = (BASE, FULL, *NAMED, *plugins.names("selectors"))
    raise UsageError(plugins.unknown("strategy", name, dict.fromkeys(known)) + "; or name a file")


def read_ranking(path: Path) -> RankingFile:
    """Read a ranking: a Parquet table with `id` and `rank`, or pool rows, best first."""
    name = path.name.removesuffix(".parquet").removesuffix(".decisions")
    if path.suffix == ".parquet":
        try:
            columns = pq.read_schema(path).names
        except (OSError, pa.ArrowInvalid) as error:
            raise UsageError(f"cannot read the ranking {path}: {error}") from error
        if {"id", "rank"} <= set(columns):
            table = pq.read_table(path, columns=["id", "rank"])
            table = table.filter(table.column("rank").is_valid()).sort_by("rank")
            return RankingFile(name, np.array(table.column("id").to_pylist(), dtype="S32"))
    ids = [one.id for one in read_examples(path, "ranking")]
    return RankingFile(path.stem, np.array(ids, dtype="S32"))
