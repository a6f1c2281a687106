"""Strategies, and the order in which each takes the usable rows of a scored pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from instructmine.contracts import Selector
from instructmine.errors import UsageError
from instructmine.formats import open_pool
from instructmine.results import Candidates, Ranking
from instructmine.rules import load_rule
from instructmine.rules.gates import Gate
from instructmine.rules.linear import LinearRule
from instructmine.scores import ScoreTable
from instructmine.selectors._compose import Stratified, Within
from instructmine.stages._index import PoolIndex, index_pool
from instructmine.stages._measure import Measurement, Vectors, vectors
from instructmine.stages._run import Run

STRATIFY = ("source", "source-equal")  # in proportion to the sources' rows, or as many from each
TOKENS = ("input_length", "output_length")  # always scored: a size without tokens says little


@dataclass(frozen=True)
class Strategy:
    """One way of ordering a pool: a selector, and the rule whose quality it reads."""

    name: str
    selector: Selector
    rule: LinearRule | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Score columns that rule and selector read."""
        return (*(self.rule.reads if self.rule else ()), *self.selector.columns)

    @property
    def gates(self) -> tuple[Gate, ...]:
        """What the rule asks of a row before it ranks it; a random draw asks nothing."""
        return self.rule.gates if self.rule and self.selector.uses_quality else ()


def strategy(
    run: Run,
    selector: str,
    *,
    name: str | None = None,
    rule: str | None = None,
    within: float | None = None,
    stratify: str | None = None,
) -> Strategy:
    """Build a strategy: the selector, inside the better share and per stratum where asked.

    The rule is the one asked for, the profile's, or none where the selector reads no quality.
    """
    chosen = run.profile.selector(selector)
    if within is not None:
        chosen = Within(selector=chosen, share=within)
    if stratify is not None:
        if stratify not in STRATIFY:
            raise UsageError(f"cannot stratify by '{stratify}'; by {' or '.join(STRATIFY)}")
        chosen = Stratified(selector=chosen, equal=stratify == "source-equal")
    return Strategy(name or selector, chosen, _pick_rule(run, rule, chosen))


def _pick_rule(run: Run, name: str | None, selector: Selector) -> LinearRule | None:
    if name is None and not selector.uses_quality:
        return None
    directions = {
        column.name: column.direction
        for owner in set(run.profile.column_owners().values())
        for column in run.profile.indicator(owner).columns
    }
    return load_rule(name or run.profile.rule, directions)


def check_recipes(
    rule: LinearRule | None, measurements: Sequence[Measurement], *, force: bool
) -> list[str]:
    """Refuse a rule that was fitted on other measurements; with force, return warnings."""
    if rule is None:
        return []
    recipes = {column: one.recipe.fields for one in measurements for column in one.columns}
    problems = rule.check(recipes)
    unknown = rule.unchecked()
    notes = [
        f"rule '{rule.name}' carries no recipe of {', '.join(unknown)}: whether yours are measured "
        "in the same way could not be checked"
    ]
    if problems and not force:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise UsageError(
            f"rule '{rule.name}' was fitted on other indicators than yours: {problems[0]}{more}; "
            "use the profile it was made for, another --rule, or --force"
        )
    forced = [f"rule '{rule.name}' forced: {problem}" for problem in problems]
    return [*forced, *(notes if unknown else ())]


@dataclass(frozen=True)
class ScoredPool:
    """A pool with the scores that some strategies read, and the rows that may be chosen.

    free: (m,) positions of those rows. embedded: where a strategy needs embeddings. read: tokens
    of a row that training reads; the rest of a longer row costs nothing.
    """

    index: PoolIndex
    scores: ScoreTable
    free: npt.NDArray[np.int64]
    embedded: Vectors | None = None
    targets: npt.NDArray[np.float32] | None = None
    read: int | None = None

    @property
    def tokens(self) -> npt.NDArray[np.float64]:
        """Prompt and response tokens of every row, (n,), at most those that are read."""
        return np.minimum(self.scores.matrix(TOKENS).sum(axis=1), self.read or np.inf)

    def quality(self, one: Strategy) -> npt.NDArray[np.float64]:
        """Quality of every row by a strategy's rule, (n,), lower is better; zeros without one."""
        return one.rule.predict(self.scores) if one.rule else np.zeros(len(self.index))

    def passing(self, one: Strategy) -> ScoredPool:
        """Return the pool without the rows that fail a gate of a strategy's rule."""
        passed = np.ones(len(self.index), dtype=bool)
        for gate in one.gates:
            passed &= gate.passed(self.scores)
        return replace(self, free=self.free[passed[self.free]])

    def rank(self, one: Strategy, *, seed: int = 0, limit: int | None = None) -> Ranking:
        """Rank the usable rows; the order is one of positions in `free`."""
        candidates = Candidates(
            ids=self.index.ids[self.free],
            quality=self.quality(one)[self.free],
            scores=self.scores.without("id", "errors").take(self.free),  # a text per row
            embeddings=self.embedded.values[self.free] if self.embedded else None,
            targets=self.targets if "targets" in one.selector.needs else None,
        )
        return one.selector.rank(candidates, seed=seed, limit=limit)


def embed(
    run: Run, index: PoolIndex, strategies: Sequence[Strategy], target: str | Path | None
) -> tuple[Vectors | None, npt.NDArray[np.float32] | None]:
    """Embed pool and target, where a strategy needs them.

    Raises UsageError where one needs a target and there is none.
    """
    needs = frozenset[str]().union(*(one.selector.needs for one in strategies))
    embedded = vectors(run, index) if needs else None
    if "targets" not in needs:
        return embedded, None
    assert target is not None  # refuse_missing_target came before
    return embedded, vectors(run, index_pool(open_pool([target]))).values


def refuse_missing_target(strategies: Sequence[Strategy], target: str | Path | None) -> None:
    """Raise UsageError where a strategy needs a target file and there is none."""
    for one in strategies:
        if "targets" in one.selector.needs and target is None:
            raise UsageError(f"selector '{one.name}' needs target examples; pass --target FILE")
