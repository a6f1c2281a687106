"""What a row of verdicts says: winning score, win rates, grades, and how far the judge is sure.

Results are of a model against its opponent, one per prompt: 1 a win, 0.5 a tie, 0 a loss.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.intervals import LEVEL, Estimate
from instructmine.verdicts import PairVerdict, Verdict

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}
_RIDGE = 0.01  # of both coefficients: keeps them finite where one model wins everything
_STEPS = 100
_RESAMPLES = 10_000
_CHUNK = 1000  # resamples held at once
_FIT_RESAMPLES = 1_000


@dataclass(frozen=True)
class Preference:
    """A model against its opponent over all prompts that were judged.

    winning_score: 1 + (wins - losses) / all, within 0 to 2, above 1 speaks for the model.
    win_rate: share of wins, ties counting half. length_controlled: the same at equal length, or
    None where it cannot be told. agreement: share of prompts on which both orders say the same.
    first_place: share of decided verdicts that the answer standing first won; 0.5 is no bias.
    problems: prompts without a result, by reason; "not asked" where a limit stopped the judge.
    """

    wins: int
    ties: int
    losses: int
    winning_score: Estimate
    win_rate: Estimate
    length_controlled: Estimate | None
    agreement: float | None
    first_place: float | None
    problems: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        plain = {**vars(self), "winning_score": _plain(self.winning_score)}
        plain["win_rate"] = _plain(self.win_rate)
        plain["length_controlled"] = _plain(self.length_controlled)
        return plain


@dataclass(frozen=True)
class Grades:
    """Grades of one model, 1 to 10, higher is better, over the answers that got one."""

    count: int
    mean: Estimate
    problems: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return {"count": self.count, "mean": _plain(self.mean), "problems": dict(self.problems)}


def points(verdicts: Sequence[PairVerdict | None]) -> FloatArray:
    """Return (n,) 1, 0.5 or 0 per prompt, NaN where there is no result."""
    return np.array(
        [math.nan if one is None or one.result is None else _POINTS[one.result] for one in verdicts]
    )


def winning_score(wins: int, ties: int, losses: int) -> float:
    """Return 1 + (wins - losses) / all (arXiv 2410.13464); NaN for none."""
    count = wins + ties + losses
    return 1 + (wins - losses) / count if count else math.nan


def preference(
    verdicts: Sequence[PairVerdict | None],
    lengths: npt.ArrayLike,
    opponent_lengths: npt.ArrayLike,
    *,
    prompts: Sequence[int] | None = None,
    reasons: Mapping[int, str] | None = None,
    seed: int = 0,
) -> Preference:
    """Summarise a model's verdicts against an opponent, with 95 % bootstrap intervals.

    lengths, opponent_lengths: (n,) characters of the answers, aligned with `verdicts`. prompts:
    which prompt each verdict is of, where some are of several turns; intervals are over prompts.
    None is a verdict that was not asked for, reasons: position → why. What has no result counts
    for nobody.
    """
    found = points(verdicts)
    known = np.isfinite(found)
    won = found[known]
    owner = np.arange(len(found)) if prompts is None else np.asarray(prompts)
    owner = np.unique(owner[known], return_inverse=True)[1]
    wins, ties, losses = (int(np.sum(won == worth)) for worth in (1.0, 0.5, 0.0))
    rate = _mean(won, owner, seed)
    gaps = (np.asarray(lengths, float) - np.asarray(opponent_lengths, float))[known]
    return Preference(
        wins, ties, losses,
        Estimate(winning_score(wins, ties, losses), 2 * rate.low, 2 * rate.high),
        rate,
        length_controlled(won, gaps, owner, seed=seed),
        *_orders(verdicts),
        _problems(verdicts, reasons or {}),
    )  # fmt: skip


def length_controlled(
    won: FloatArray, gaps: FloatArray, owner: IntArray | None = None, *, seed: int = 0
) -> Estimate | None:
    """Return the win rate to expect if both models answered at equal length.

    won: (n,) 1, 0.5 or 0. gaps: (n,) own length minus the opponent's. owner: (n,) number of
    the prompt that each is of. Logistic regression
    P(win) = σ(θ + φ · tanh(gap / sd(gap))), read at gap 0, that is σ(θ): AlpacaEval 2's
    (Dubois et al., arXiv 2404.04475) without its term for the difficulty of an instruction,
    which it knows for its own 805 instructions alone. Swapping the models gives one minus it.

    None below 10 prompts, or where all gaps are equal but not zero, as then length and model
    cannot be told apart. Not covered: merit that needs length; the judge's taste for length is
    taken out, and so is what a longer answer rightly earned.
    """
    if len(won) < 10 or (np.ptp(gaps) == 0 and gaps[0] != 0):
        return None
    spread = float(np.std(gaps, ddof=1)) or 1.0
    squashed = np.tanh(gaps / spread)
    owner = np.arange(len(won)) if owner is None else owner
    draws = _draws(owner, _FIT_RESAMPLES, np.random.default_rng(seed))
    rates = _fit(won, squashed, np.vstack([np.ones(len(won)), draws]))
    return _interval(float(rates[0]), rates[1:])


def _fit(won: FloatArray, squashed: FloatArray, weights: FloatArray) -> FloatArray:
    """Return σ(θ) of one weighted logistic fit per row of weights, by Newton's method."""
    theta, phi = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_STEPS):
        expected = 1 / (1 + np.exp(-(theta[:, None] + phi[:, None] * squashed)))
        error = weights * (won - expected)
        slope = weights * expected * (1 - expected)
        g0 = error.sum(1) - _RIDGE * theta
        g1 = error @ squashed - _RIDGE * phi
        h00 = slope.sum(1) + _RIDGE
        h01 = slope @ squashed
        h11 = slope @ squashed**2 + _RIDGE
        det = h00 * h11 - h01**2
        step0, step1 = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        # Full steps can leap where weights pile up on few prompts; none needs to be so long.
        theta, phi = theta + np.clip(step0, -1, 1), phi + np.clip(step1, -1, 1)
        if max(np.abs(step0).max(), np.abs(step1).max()) < 1e-9:
            break
    return np.asarray(1 / (1 + np.exp(-theta)))


def grades(
    verdicts: Sequence[Verdict | None],
    prompts: Sequence[int],
    *,
    reasons: Mapping[int, str] | None = None,
    seed: int = 0,
) -> Grades:
    """Summarise grades; the interval is over prompts, whose turns belong together.

    prompts: which prompt each verdict is of.
    """
    known = [(p, v.grade) for p, v in zip(prompts, verdicts, strict=True) if v and v.grade]
    why = reasons or {}
    problems = Counter(
        v.problem if v else why.get(place, "not asked")
        for place, v in enumerate(verdicts)
        if v is None or v.problem
    )
    if not known:
        return Grades(0, Estimate(math.nan, math.nan, math.nan), dict(problems))
    values = np.array([grade for _, grade in known], dtype=np.float64)
    owner = np.unique([prompt for prompt, _ in known], return_inverse=True)[1]
    return Grades(len(known), _mean(values, owner, seed), dict(problems))


def _mean(values: FloatArray, owner: IntArray, seed: int) -> Estimate:
    """Return the mean with its bootstrap interval over owners (prompts)."""
    if not len(values):
        return Estimate(math.nan, math.nan, math.nan)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(_RESAMPLES // _CHUNK):
        weights = _draws(owner, _CHUNK, rng)
        means.append(weights @ values / weights.sum(1))
    return _interval(float(values.mean()), np.concatenate(means))


def _draws(owner: IntArray, resamples: int, rng: np.random.Generator) -> FloatArray:
    """Return how often each value is drawn, (resamples, n): owners are drawn, not values."""
    count = int(owner.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn[:, owner], dtype=np.float64)


def _interval(value: float, resampled: FloatArray) -> Estimate:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def _orders(verdicts: Sequence[PairVerdict | None]) -> tuple[float | None, float | None]:
    """Return the agreement between orders and the share of decided verdicts won by the first."""
    both = [one for one in verdicts if one is not None and len(one.votes) == 2]
    if not both:
        return None, None
    agreement = sum(one.votes[0] == one.votes[1] for one in both) / len(both)
    said = [v.outcome for one in both for v in (one.forward, one.backward) if v is not None]
    decided = [outcome for outcome in said if outcome != "tie"]
    return agreement, decided.count("first") / len(decided) if decided else None


def _problems(verdicts: Sequence[PairVerdict | None], reasons: Mapping[int, str]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for position, one in enumerate(verdicts):
        if one is None:
            found[reasons.get(position, "not asked")] += 1
        elif one.result is None:
            found[one.problem] += 1
    return dict(found)


def _plain(estimate: Estimate | None) -> dict[str, float | None] | None:
    if estimate is None:
        return None
    return {k: v if math.isfinite(v) else None for k, v in vars(estimate).items()}
