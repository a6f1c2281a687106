"""Turns the trainings of a comparison into arms, and into the tables that are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from instructmine.comparison import Arm, Contrast
from instructmine.evals import EvalSet
from instructmine.stages._choices import Choice
from instructmine.stages._ranked import ScoredPool
from instructmine.stages._trainings import Training
from instructmine.stages._trial import TrialResult
from instructmine.stages._trial_table import source_names
from instructmine.trial_table import SOURCE


@dataclass(frozen=True)
class Entry:
    """A strategy at a size with what each of its trainings came to."""

    choice: Choice
    runs: tuple[tuple[Training, TrialResult], ...]

    def finished(self) -> Entry:
        """Return the entry without the trainings that gave no loss."""
        return Entry(self.choice, tuple(pair for pair in self.runs if not pair[1].error))

    def arm(self, sets: Sequence[EvalSet]) -> Arm:
        """Return the losses of all seeds."""
        losses = {
            one.name: np.array([found.losses[one.name].losses for _, found in self.runs])
            for one in sets
        }
        return Arm(self.choice.strategy, self.choice.budget, losses, self.choice.draws)

    def fact(self, name: str) -> float:
        """Return the mean over seeds of a number that training reports."""
        return float(np.mean([found.facts[name] for _, found in self.runs]))


def comparison_table(
    scored: ScoredPool, entries: Sequence[Entry], found: Sequence[Contrast]
) -> pa.Table:
    """Return one row per strategy, size and eval set; see `Comparison` for the columns."""
    by_key = {(one.choice.strategy, one.choice.budget): one for one in entries if one.runs}
    size_of = {one.choice.budget: one.choice.size for one in entries}
    facts = {key: _facts(scored, one) for key, one in by_key.items()}
    rows = []
    for one in found:
        key = (one.strategy, one.budget)
        key = key if key in by_key else (one.strategy, None)
        rows.append(
            {
                "strategy": one.strategy,
                "size": size_of[one.budget],
                "eval": one.eval,
                "seeds": len(by_key[key].runs),
                **_numbers(one),
                "verdict": one.verdict,
                **facts[key],
            }
        )
    return pa.Table.from_pylist(rows)


def _numbers(one: Contrast) -> dict[str, Any]:
    gap, times = one.difference, one.multiplier
    low, high = one.multiplier_low, one.multiplier_high
    return {
        "loss": one.loss.value,
        "loss_low": one.loss.low,
        "loss_high": one.loss.high,
        "difference": gap.value if gap else None,
        "difference_low": gap.low if gap else None,
        "difference_high": gap.high if gap else None,
        "p": gap.p if gap else None,
        "p_corrected": one.p,
        "multiplier": times.times if times else None,
        "multiplier_bound": times.bound if times else None,
        "multiplier_low": low.times if low else None,
        "multiplier_high": high.times if high else None,
        "multiplier_text": str(times) if times else None,
    }


def _facts(scored: ScoredPool, entry: Entry) -> dict[str, float]:
    """Return what an entry spent, and where its rows come from, on average over seeds."""
    index, tokens = scored.index, scored.tokens
    rows = [one.positions for one, _ in entry.runs]
    names = source_names(index.sources)
    counts = np.mean([np.bincount(index.source[p], minlength=len(names)) for p in rows], axis=0)
    shares = counts / max(counts.sum(), 1)
    return {
        "rows": float(np.mean([len(p) for p in rows])),
        "tokens": float(np.mean([tokens[p].sum() for p in rows])),
        "tokens_trained": entry.fact("tokens"),
        "steps": entry.fact("steps"),
        "train_seconds": entry.fact("seconds"),
        "select_seconds": entry.choice.select_seconds,
        **{SOURCE + name: float(share) for name, share in zip(names, shares, strict=True)},
    }


def shared_rows(entries: Sequence[Entry]) -> dict[str, dict[str, dict[str, float]]]:
    """Return size → strategy → strategy → share of the first's rows that the second holds too."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for size in dict.fromkeys(one.choice.size for one in entries if one.choice.size is not None):
        own = {
            one.choice.strategy: set(one.runs[0][0].positions.tolist())
            for one in entries
            if one.choice.size == size and one.runs
        }
        out[str(size)] = {
            a: {b: round(len(own[a] & own[b]) / max(len(own[a]), 1), 4) for b in own} for a in own
        }
    return out


def prompts_table(entries: Sequence[Entry], sets: Sequence[EvalSet]) -> pa.Table:
    """Return one row per training and prompt: what every interval was computed from."""
    parts = []
    for entry in entries:
        for training, found in entry.runs:
            for one in sets:
                measured = found.losses[one.name]
                n = len(measured.losses)
                parts.append(
                    pa.table(
                        {
                            "strategy": pa.array([entry.choice.strategy] * n),
                            "size": pa.array([entry.choice.size] * n, pa.int64()),
                            "seed": pa.array([training.seed] * n),
                            "eval": pa.array([one.name] * n),
                            "place": pa.array([item.place for item in one.items]),
                            "loss": pa.array(measured.losses),
                            "tokens": pa.array(measured.tokens),
                        }
                    )
                )
    return pa.concat_tables(parts)
