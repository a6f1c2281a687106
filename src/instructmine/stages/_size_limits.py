"""What a search for the size may be asked: its range, its budgets, its trainer."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from instructmine import plugins
from instructmine.contracts import Searcher, SizeRange
from instructmine.errors import MissingExtraError, UsageError
from instructmine.searching import Limits
from instructmine.stages._prefixes import Prefixes
from instructmine.stages._ranked import ScoredPool
from instructmine.stages._run import Run
from instructmine.stages._size_summary import installed
from instructmine.stages._trial import TrialRunner

MINIMUM, MAXIMUM = 512, 10_000  # InstructMining's range
MATCHES = ("epochs", "steps")


def check_call(
    out: str | Path | None,
    seeds: int,
    match: str,
    steps: int | None,
    minimum: int | None,
    maximum: int | None,
) -> None:
    if out is not None and Path(out).suffix != ".json":
        raise UsageError(f"a search is written as JSON; name the output {Path(out).stem}.json")
    if seeds < 1:
        raise UsageError("--seeds must be 1 or more")
    if match not in MATCHES:
        raise UsageError(plugins.unknown("match", match, MATCHES))
    if steps is not None and (match != "steps" or steps < 1):
        raise UsageError("--steps is a number from 1 on, and goes with --match steps")
    for option, value in (("--min", minimum), ("--max", maximum)):
        if value is not None and value < 1:
            raise UsageError(f"{option} must be 1 or more, not {value}")


def limits_of(
    trials: int | None, minutes: float | None, tokens: int | None, patience: int
) -> Limits:
    """Return the budgets. Raises UsageError for one that allows nothing."""
    named = (("--max-trials", trials), ("--max-minutes", minutes), ("--max-tokens", tokens))
    for option, value in named:
        if value is not None and not value > 0:
            raise UsageError(f"{option} must be above 0, not {value}")
    if patience < 0:
        raise UsageError("--patience must be 0 (never stop early) or more")
    return Limits(trials, None if minutes is None else 60 * minutes, tokens, patience or None)


def searcher_of(run: Run, name: str, seeds: int, limits: Limits) -> Searcher:
    """Build the searcher. Raises where its packages are missing or a budget allows no proposal."""
    found = run.profile.searcher(name)
    if not installed(found):
        raise MissingExtraError("FLAML", "search", f"searcher '{name}'")
    each = found.seeds_per_ask or seeds
    if limits.trials is not None and limits.trials < each:
        raise UsageError(
            f"--max-trials {limits.trials} is too few for one size, which takes {each} "
            "trainings; raise it or lower --seeds"
        )
    return found


def size_range(
    minimum: int | None, maximum: int | None, rows: int, seeds: int
) -> tuple[SizeRange, list[str]]:
    """Return the sizes to search, and what the default range was cut to where a pool is small.

    A default minimum leaves room for a range as wide as the default one, from 512 to 10,000.
    Raises UsageError for sizes beyond the usable rows, or a range that holds fewer than two.
    """
    low, high = minimum or MINIMUM, maximum or MAXIMUM
    for option, value in (("--min", minimum), ("--max", maximum)):
        if value is not None and value > rows:
            raise UsageError(
                f"{option} {value:,} is more than the {rows:,} usable rows of the pool (the rest "
                "are gated, duplicates, contaminated or unscorable); lower it or give a larger pool"
            )
    notes = []
    if maximum is None and high > rows:
        high = rows
        notes.append(f"the default --max 10,000 was cut to the {rows:,} usable rows of the pool")
    if minimum is None and low > high // 2:
        low = max(1, math.ceil(high * MINIMUM / MAXIMUM))
        notes.append(f"the default --min 512 was cut to {low:,}, as far below --max as usual")
    if low >= high:
        raise UsageError(f"--min {low:,} must be below --max {high:,}")
    return SizeRange(low, high, seeds), notes


def fixed_steps(
    run: Run, runner: TrialRunner, trainer: str, steps: int | None, largest: int
) -> TrialRunner:
    """Return a runner whose trainer takes as many steps for any size.

    By default those of one pass over the largest size: with fewer some of its examples would not
    be seen, and a size would not be what it says.
    """
    if steps is None:
        batch = runner.trainer.identity().get("batch_size")
        if not batch:
            raise UsageError(f"trainer '{trainer}' has no batch_size; name the steps with --steps")
        steps = math.ceil(largest / batch)
    profile = run.profile.override([f"{trainer}.steps={steps}"])
    return replace(runner, trainer=profile.trainer(trainer, runner.trainer.base_model))


def check_tokens(
    scored: ScoredPool,
    ranking: Prefixes,
    runner: TrialRunner,
    how: Searcher,
    sizes: SizeRange,
    limits: Limits,
) -> None:
    """Raise UsageError where --max-tokens does not reach for one size."""
    if limits.tokens is None:
        return
    epochs = runner.trainer.identity().get("epochs", 1)
    each = how.seeds_per_ask or sizes.seeds
    rows = ranking.orders[0][: sizes.minimum]
    needed = each * epochs * float(np.nansum(scored.tokens[rows]))
    if needed > limits.tokens:
        raise UsageError(
            f"--max-tokens {limits.tokens:,.0f} is too few: the smallest size takes about "
            f"{needed:,.0f}; raise it, or lower --min or --seeds"
        )
