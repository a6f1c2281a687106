"""What the starter reward model is measured on: held-out pairs, faults and trivial features."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from reward_data import (
    FLASK_ORDER,
    Messages,
    Pair,
    ask,
    foreign_answers,
    good_answers,
    graded_answers,
    key,
    measured_on,
    part_of,
    preference_pairs,
)  # fmt: skip
from reward_faults import FAULTS, Breaker
from reward_groups import ordered_groups

from instructmine.modelref import ModelRef
from instructmine.models.reward import RewardModel
from instructmine.pool import Message, Turn

TRIVIAL = ("length", "mtld", "overlap")
POOL = Path(__file__).parents[1] / "examples/pool.jsonl"
UNBROKEN = ("exact-duplicate", "near-duplicate")  # faults of the pool, not of an answer
Wins = dict[str, list[float]]


def score(model: RewardModel, items: Sequence[tuple[Messages, str]]) -> list[float]:
    """The reward of each answer; an answer that has none is below all others."""
    turns = [
        Turn(tuple(Message(who, said) for who, said in history), answer)
        for history, answer in items
    ]
    return np.nan_to_num(model.rewards(turns).values, nan=-np.inf).tolist()


def mtld(text: str, threshold: float = 0.72) -> float:
    """Measure of textual lexical diversity, mean of both directions."""

    def one_way(tokens: Sequence[str]) -> float:
        factors, start, types = 0.0, 0, set()
        for at, token in enumerate(tokens):
            types.add(token)
            if len(types) / (at - start + 1) <= threshold:
                factors, start, types = factors + 1, at + 1, set()
        if start < len(tokens):
            factors += (1 - len(types) / (len(tokens) - start)) / (1 - threshold)
        return len(tokens) / factors if factors else float(len(tokens))

    tokens = re.findall(r"\w+", text.lower())
    return (one_way(tokens) + one_way(tokens[::-1])) / 2 if tokens else 0.0


def overlap(turns: Messages, answer: str) -> float:
    """Number of different prompt words that the answer takes up."""
    said = set(re.findall(r"\w+", answer.lower()))
    return float(len(said & set(re.findall(r"\w+", turns[-1][1].lower()))))


def compare(model: RewardModel, pairs: Sequence[Pair]) -> Wins:
    """By column, pair by pair: 1 where the better answer has more of it, a half for ties."""
    items = [(p.turns, answer) for p in pairs for answer in (p.better, p.worse)]
    columns = {
        "reward": score(model, items),
        "length": [float(len(answer.split())) for _, answer in items],
        "mtld": [mtld(answer) for _, answer in items],
        "overlap": [overlap(turns, answer) for turns, answer in items],
    }
    return {
        name: [(a > b) + 0.5 * (a == b) for a, b in zip(values[::2], values[1::2], strict=True)]
        for name, values in columns.items()
    }


def shares(wins: Wins, which: Sequence[bool] | None = None) -> dict[str, float]:
    """Share of the (chosen) pairs that each column orders rightly."""
    out: dict[str, float] = {}
    for name, values in wins.items():
        kept = [v for at, v in enumerate(values) if which is None or which[at]]
        out |= {"pairs": len(kept), name: round(sum(kept) / max(1, len(kept)), 3)}
    return out


def matched(pair: Pair) -> bool:
    """Whether the answers' word counts are within a quarter of each other."""
    one, two = len(pair.better.split()), len(pair.worse.split())
    return min(one, two) >= 0.75 * max(one, two) > 0


def alpaca_pairs(data: Path) -> list[Pair]:
    """A stronger answer and Alpaca's."""
    weak = {
        (row["instruction"], row["input"]): row["output"]
        for row in common.read_rows(data / "train/alpaca_data.json")
    }
    return [
        Pair(ask(row["instruction"], row["input"]), row["output"], weak[place], "alpaca")
        for row in common.read_rows(data / "train/alpaca_en_demo_1k.json")
        if (place := (row["instruction"], row["input"])) in weak
        and row["output"].strip() != weak[place].strip()
    ]


def flask_pairs(data: Path, rng: random.Random) -> list[Pair]:
    """Answers of two models of known order to each FLASK prompt."""
    prompts = {row["idx"]: row for row in common.read_rows(data / "eval/flask_evaluation.jsonl")}
    answers = {
        name: {
            row["question_id"]: row["text"]
            for row in common.read_rows(data / f"judgments/flask_outputs/{name}.jsonl")
        }
        for name in FLASK_ORDER
    }
    out = []
    for place, row in prompts.items():
        high, low = rng.sample(list(FLASK_ORDER), 2)
        if FLASK_ORDER[high] < FLASK_ORDER[low]:
            high, low = low, high
        one, two = answers[high].get(place, "").strip(), answers[low].get(place, "").strip()
        if one and two and one != two:
            out.append(Pair(ask(row["instruction"]), one, two, "flask"))
    return out


def measured_pairs(data: Path) -> dict[str, list[Pair]]:
    """Pairs that no training row shares a prompt with."""
    preferences = [
        pair for pair in preference_pairs(data) if pair.better.strip() != pair.worse.strip()
    ]
    graded = graded_answers(data)
    prompts = [row.turns for row in good_answers(data)] + [p.turns for p in preference_pairs(data)]
    prompts += list(graded) + [group.turns for group in ordered_groups(data)]
    trained = {key(turns) for turns in prompts if not measured_on(turns)}
    rng = random.Random(7)
    out = {"alpaca": alpaca_pairs(data), "flask": flask_pairs(data, rng)}
    for kind in ("hh", "dpo", "rasbt"):
        out[f"{kind}_held_out"] = [
            pair for pair in preferences if pair.kind == f"{kind}_pref" and measured_on(pair.turns)
        ]
    by_kind: dict[str, list[tuple[Messages, list[tuple[str, int, str]]]]] = defaultdict(list)
    for turns, given in graded.items():
        if measured_on(turns):
            by_kind[given[0][2]].append((turns, given))
    out["graded_held_out"] = []
    for rows in by_kind.values():
        for turns, given in rows:
            options = [(a[0], b[0]) for a in given for b in given if a[1] > b[1] and a[0] != b[0]]
            drawn = rng.sample(options, min(6, len(options)))
            out["graded_held_out"] += [Pair(turns, *pair, "graded") for pair in drawn]
    return {name: [p for p in pairs if key(p.turns) not in trained] for name, pairs in out.items()}


def develop_pairs(data: Path) -> dict[str, list[Pair]]:
    """Pairs to choose settings by, of prompts that are not measured on."""
    rng = random.Random(3)
    out: dict[str, list[Pair]] = defaultdict(list)
    for group in ordered_groups(data):
        if part_of(group.turns) == "develop":
            options = [
                Pair(group.turns, one, two, group.kind)
                for one, high in group.answers
                for two, low in group.answers
                if high >= low + 1
            ]
            out[group.kind] += rng.sample(options, min(len(options), 30))
    return dict(out)


def fault_pairs(data: Path, part: str) -> dict[str, list[Pair]]:
    """Good answers of a part of the prompts against each fault."""
    rows = [row for row in good_answers(data) if part_of(row.turns) == part]
    breaker = Breaker(rows, foreign_answers(data, held_out=True))
    rng = random.Random(21)
    drawn = {fault: [breaker.fault_pair(rng, fault) for _ in range(100)] for fault in FAULTS}
    return {fault: [p for p in pairs if p.kind == fault] for fault, pairs in drawn.items()}


def planted_faults(model: RewardModel) -> Mapping[str, dict[str, float]]:
    """How often a good row of the example pool is above a faulty one, by fault: AUROC."""
    rows = common.read_rows(POOL)
    scores = score(model, [(ask(row["instruction"], row["input"]), row["output"]) for row in rows])
    by_fault: dict[str, list[float]] = defaultdict(list)
    for row, value in zip(rows, scores, strict=True):
        by_fault[row["fault"]].append(value)
    good = np.asarray(by_fault.pop(""))[:, None]
    kinds = {name: values for name, values in sorted(by_fault.items()) if name not in UNBROKEN}
    kinds["all of these"] = [value for values in kinds.values() for value in values]
    return {
        name: {
            "rows": len(values),
            "reward": round(float(np.mean((good > values) + 0.5 * (good == values))), 3),
        }
        for name, values in kinds.items()
    }


def measure(folder: Path, data: Path, part: str) -> dict[str, Any]:
    """Quality of an exported folder, loaded by the package in single precision.

    Args:
        folder: The model.
        data: The data folder.
        part: `measured`, or `develop` for the pairs that settings are chosen by.
    """
    model = RewardModel.load(ModelRef(str(folder)))
    pairs_of = measured_pairs(data) if part == "measured" else develop_pairs(data)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.model.parameters())}
    found["all_lengths"], found["length_matched"], found["faults"] = {}, {}, {}
    pooled: Wins = defaultdict(list)
    like: list[bool] = []
    for name, pairs in pairs_of.items():
        wins, same = compare(model, pairs), [matched(pair) for pair in pairs]
        found["all_lengths"][name] = shares(wins)
        found["length_matched"][name] = shares(wins, same)
        like += same
        for column, values in wins.items():
            pooled[column] += values
    found["all_lengths"]["pooled"] = shares(pooled)
    found["length_matched"]["pooled"] = shares(pooled, like)
    for fault, pairs in fault_pairs(data, part).items():
        found["faults"][fault] = shares(compare(model, pairs))
    found["planted"] = planted_faults(model)
    return found


def summary(found: Mapping[str, Any]) -> str:
    """The measured values, a line each, to read while choosing settings."""
    lines = []
    for sort in ("length_matched", "all_lengths", "faults"):
        for name, row in found[sort].items():
            columns = " ".join(
                f"{column} {row[column]}" for column in ("pairs", "reward", *TRIVIAL)
            )
            lines.append(f"{sort} {name}: {columns}")
    for name, row in found["planted"].items():
        lines.append(f"planted {name}: rows {row['rows']} reward {row['reward']}")
    return "\n".join(lines)
