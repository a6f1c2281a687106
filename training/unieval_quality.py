"""What the starter dialogue evaluator is measured on: synthetic faults and people's scores."""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import torch
from scipy.stats import spearmanr
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration
from unieval_examples import QUESTIONS, Maker
from unieval_model import score

DEVELOPMENT = ("sfres", "sfhot")
"""Sets with people's scores that settings may be chosen by."""


def overlap(response: str, history: str) -> float:
    """Share of the response's words that stand in the history."""
    said = response.lower().split()
    known = set(history.lower().split())
    return sum(word in known for word in said) / max(1, len(said))


def development_agreement(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, data: Path
) -> dict[str, dict[str, float]]:
    """Spearman with people's naturalness of short system utterances, by set and question."""
    out: dict[str, dict[str, float]] = {}
    for name in DEVELOPMENT:
        rows = common.read_rows(data / f"unieval/data/{name}.json")
        human = [row["scores"]["naturalness"] for row in rows]
        said = [row["system_output"] for row in rows]
        out[name] = {"type_token": spearmanr([type_token(text) for text in said], human)[0]}
        for question in ("naturalness", "understandability"):
            texts = [QUESTIONS[question].format(response=text) for text in said]
            out[name][question] = spearmanr(score(model, tokenizer, texts), human)[0]
        out[name] = {key: round(float(value), 3) for key, value in out[name].items()}
    return out


def type_token(text: str) -> float:
    """Distinct words over words."""
    return len(set(text.split())) / max(1, len(text.split()))


def human_agreement(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, data: Path
) -> dict[str, dict[str, float]]:
    """Spearman with the human scores of Topical-Chat, next to trivial features."""
    rows = common.read_rows(data / "unieval/data/topical_chat.json")
    features = {
        "length": [float(len(row["system_output"].split())) for row in rows],
        "distinct_words": [float(len(set(row["system_output"].split()))) for row in rows],
        "type_token": [type_token(row["system_output"]) for row in rows],
        "overlap": [overlap(row["system_output"], row["source"]) for row in rows],
    }
    out: dict[str, dict[str, float]] = {}
    for question, form in QUESTIONS.items():
        texts = [form.format(response=row["system_output"], history=row["source"]) for row in rows]
        human = [row["scores"][question] for row in rows]
        found = {"model": spearmanr(score(model, tokenizer, texts), human)[0]}
        found |= {name: spearmanr(values, human)[0] for name, values in features.items()}
        out[question] = {name: round(float(value), 3) for name, value in found.items()}
    return out


def area(good: Sequence[float], bad: Sequence[float]) -> float:
    """Probability that a good text scores above a bad one."""
    return sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / max(1, len(good) * len(bad))


def synthetic_quality(
    model: T5ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    maker: Maker,
    seed: int,
    count: int,
) -> dict[str, dict[str, float]]:
    """By question and fault: probability that a held-out good turn scores above a faulty one."""
    rng = random.Random(seed)
    examples = maker.examples(rng, count // 2)
    values = score(model, tokenizer, [example.text for example in examples])
    groups: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in QUESTIONS}
    for example, value in zip(examples, values, strict=True):
        groups[example.question][example.fault].append(value)
    out: dict[str, dict[str, float]] = {}
    for question, by in groups.items():
        good = by.pop("none")
        out[question] = {"all": round(area(good, [v for vs in by.values() for v in vs]), 3)}
        out[question] |= {name: round(area(good, by[name]), 3) for name in sorted(by)}
    return out


def measure(folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Quality of a saved folder, people's scores of Topical-Chat left aside."""
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    maker = Maker(args.data, args.seed, args.scratch / "unieval", development=True)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "development": development_agreement(model, tokenizer, args.data),
        "synthetic": synthetic_quality(model, tokenizer, maker, args.seed + 1, 4000),
    }
