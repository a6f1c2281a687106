"""Strategies against random: differences, corrected verdicts, and what random would have needed.

Losses are in nats per token, lower is better; a negative difference speaks for the strategy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from instructmine.intervals import (
    Difference,
    Estimate,
    Variance,
    holm,
    pooled_variance,
    seed_variance,
    seeded_difference,
    seeded_mean,
)

FloatArray = npt.NDArray[np.float64]
Verdict = Literal["better than random", "no better than random", "worse than random", "reference"]
SIGNIFICANT = 0.05
RANDOM, BASE, FULL = "random", "base", "full"


@dataclass(frozen=True)
class Arm:
    """One strategy at one budget, trained with several seeds.

    budget: what was to be spent, in rows or in tokens; None where that has no say: the untouched
    base model and the full pool. losses: eval set → (seeds, prompts).
    draws: every seed has rows of its own.
    """

    strategy: str
    budget: int | None
    losses: Mapping[str, FloatArray]
    draws: bool = False


@dataclass(frozen=True)
class Multiplier:
    """How many times a budget random needs for the same loss; ">" or "<": off its curve's end."""

    times: float
    bound: Literal["", "<", ">"] = ""

    def __str__(self) -> str:
        """Return it as 3.1×, > 16×."""
        return f"{self.bound} {self.times:.2g}×".lstrip()


@dataclass(frozen=True)
class Contrast:
    """One strategy against random at one budget on one eval set.

    p: of the difference, corrected (Holm) for every strategy and budget of this eval set.
    multiplier: the data multiplier, with its 95 % interval by that of the difference.
    """

    strategy: str
    budget: int
    eval: str
    loss: Estimate
    verdict: Verdict
    difference: Difference | None = None
    p: float | None = None
    multiplier: Multiplier | None = None
    multiplier_low: Multiplier | None = None
    multiplier_high: Multiplier | None = None


@dataclass(frozen=True)
class Curve:
    """Loss against budget of random draws, smallest budget first."""

    budgets: tuple[float, ...]
    losses: tuple[float, ...]

    def multiplier(self, loss: float, budget: float) -> Multiplier:
        """Return the budget at which the curve first reaches a loss, over the one given.

        Between measured budgets the loss is taken to be linear in the budget's logarithm.
        """
        points = list(zip(self.budgets, self.losses, strict=True))
        first, *others = points
        if loss >= first[1]:
            return Multiplier(first[0] / budget, "<" if loss > first[1] else "")
        for (x0, y0), (x1, y1) in zip(points, others, strict=False):
            if y1 <= loss:
                share = (y0 - loss) / (y0 - y1)
                return Multiplier(x0 * (x1 / x0) ** share / budget)
        return Multiplier(points[-1][0] / budget, ">")


def contrasts(arms: Sequence[Arm], whole: int | None = None) -> list[Contrast]:
    """Compare every arm with random at its budget, and one without a budget at every budget.

    The training noise of strategies that always take the same rows is pooled over them, budget
    by budget; random varies by its draw too and keeps its own variance.

    Args:
        arms: strategies × budgets; each budget has an arm of random with two seeds or more. A
            budget that random alone has is a point of its curve and nothing else.
        whole: budget of the full pool, whose arm ends random's curve where there is one.
    """
    references = {arm.budget: arm for arm in arms if arm.strategy == RANDOM}
    budgets = _compared(arms)
    found: list[Contrast] = []
    for name in arms[0].losses:
        curve = _curve(arms, name, whole)
        own = [
            _contrast(arm, references[budget], budget, name, _noise(arms, arm, name), curve)
            for budget in budgets
            for arm in arms
            if arm.budget in (budget, None)
        ]
        found += _judged(own)
    return found


def _compared(arms: Sequence[Arm]) -> list[int]:
    """Return the budgets that something is compared at; all of them where there is only random."""
    others = {arm.budget for arm in arms if arm.strategy != RANDOM}
    wanted = others - {None} or {arm.budget for arm in arms}
    return sorted(budget for budget in wanted if budget is not None)


def _contrast(
    arm: Arm, reference: Arm, budget: int, name: str, noise: Variance | None, curve: Curve
) -> Contrast:
    losses, other = arm.losses[name], reference.losses[name]
    loss = seeded_mean(losses, noise)
    if arm is reference:
        return Contrast(arm.strategy, budget, name, loss, "reference", multiplier=Multiplier(1.0))
    gap = seeded_difference(losses, other, noise)
    found = Contrast(arm.strategy, budget, name, loss, "no better than random", gap)
    if arm.budget is None:  # it did not spend the budget
        return found
    level = float(other.mean())
    return replace(
        found,
        multiplier=curve.multiplier(level + gap.value, budget),
        multiplier_low=curve.multiplier(level + gap.high, budget),
        multiplier_high=curve.multiplier(level + gap.low, budget),
    )


def _noise(arms: Sequence[Arm], arm: Arm, name: str) -> Variance | None:
    """Return how an arm varies from seed to seed, where more is known than its own seeds tell."""
    if arm.strategy == BASE:
        return Variance(0.0, 1)  # it was not trained
    if arm.draws:
        return None
    alike = [
        one for one in arms if one.budget == arm.budget and not one.draws and one.strategy != BASE
    ]
    return pooled_variance(seed_variance(one.losses[name]) for one in alike)


def _curve(arms: Sequence[Arm], name: str, whole: int | None) -> Curve:
    points = {
        float(arm.budget): float(arm.losses[name].mean())
        for arm in arms
        if arm.strategy == RANDOM and arm.budget is not None
    }
    for arm in arms:
        if arm.strategy == FULL and whole is not None:
            points[float(whole)] = float(arm.losses[name].mean())
    budgets = sorted(points)
    return Curve(tuple(budgets), tuple(points[one] for one in budgets))


def _judged(found: Sequence[Contrast]) -> list[Contrast]:
    """Correct the p-values of one eval set for their number, and say what follows."""
    corrected = iter(holm([one.difference.p for one in found if one.difference]))
    out = []
    for one in found:
        if one.difference is None:
            out.append(one)
            continue
        p = next(corrected)
        verdict: Verdict = "no better than random"
        if p < SIGNIFICANT:
            verdict = "better than random" if one.difference.value < 0 else "worse than random"
        out.append(replace(one, p=p, verdict=verdict))
    return out


def in_one_sentence(found: Sequence[Contrast], strategy: str) -> str:
    """Say at each budget on how many eval sets a strategy did better or worse than random."""
    own = [one for one in found if one.strategy == strategy]
    parts = []
    for budget in sorted({one.budget for one in own}):
        there = [one for one in own if one.budget == budget]
        better = sum(one.verdict == "better than random" for one in there)
        worse = sum(one.verdict == "worse than random" for one in there)
        said = f"better than random on {better} of {len(there)} eval sets"
        if not better:
            said = f"no better than random on any of {len(there)} eval sets"
        parts.append(f"at {budget:,} {said}" + (f", worse on {worse}" if worse else ""))
    return f"{strategy}: " + "; ".join(parts)
