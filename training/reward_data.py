"""The answers that the starter reward model is trained and measured on, and where they come from.

Prompts are split by a hash of their first twelve words: every eighth is measured on only.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

# Strength of answering models. Self-Instruct predictions: the order of the paper's human
# evaluation on these 252 tasks. Vicuna questions: the order of the published Vicuna and QLoRA
# evaluations, kept coarse; models of equal strength are never compared.
SELF_INSTRUCT_ORDER = {
    "davinci": 0, "davinci-t0-ft": 1, "davinci-superni-ft": 2, "davinci-self-instruct": 3,
    "davinci-self-instruct-and-superni-ft": 3, "text-davinci-001": 4, "text-davinci-002": 4,
    "text-davinci-003": 5,
}  # fmt: skip
VICUNA_ORDER = {
    "judgments/vicuna80/answer/answer_llama-13b": 0,
    "judgments/vicuna80/answer/answer_alpaca-13b": 2,
    "judgments/vicuna80/answer/answer_vicuna-7b-20230322-fp16": 3,
    "judgments/vicuna80/answer/answer_vicuna-13b": 4,
    "judgments/vicuna80/answer/answer_bard": 5,
    "judgments/vicuna80/answer/answer_gpt35": 5,
    "judgments/qlora_vicuna_generations/answer_gpt4": 6,
    "judgments/qlora_vicuna_generations/7b-flan": 0,
    "judgments/qlora_vicuna_generations/7b-self-instruct": 1,
    "judgments/qlora_vicuna_generations/7b-unnatural-instructions": 1,
    "judgments/qlora_vicuna_generations/7b-longform": 1,
    "judgments/qlora_vicuna_generations/7b-chip2": 1,
    "judgments/qlora_vicuna_generations/7b-hh-rlhf": 1,
    "judgments/qlora_vicuna_generations/7b-alpaca": 2,
    "judgments/qlora_vicuna_generations/7b-guanaco": 3,
}
FLASK_ORDER = {"alpaca_13b": 0, "tulu_7b": 1, "vicuna_13b": 2, "chatgpt": 3, "gpt4": 4}

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answered:
    """A prompt (turns, the last one the user's) with a good answer."""

    turns: Messages
    answer: str
    source: str


@dataclass(frozen=True)
class Pair:
    """Two answers to one prompt, the first better."""

    turns: Messages
    better: str
    worse: str
    kind: str


def ask(text: str, more: str = "") -> Messages:
    """A single user turn."""
    return (("user", f"{text.strip()}\n{more.strip()}".strip()),)


def key(turns: Messages) -> str:
    """The first twelve words of the first user turn: what the split goes by."""
    words = [word for word in re.findall(r"\w+", turns[0][1].lower()) if word != "input"]
    return " ".join(words[:12])


def measured_on(turns: Messages) -> bool:
    """Whether a prompt is held back from training: one in eight, by hash."""
    return common.stable_hash(key(turns)) % 8 == 0


def part_of(turns: Messages) -> str:
    """`measured`, or of the others `develop` (one in eight, to choose settings by) or `train`."""
    if measured_on(turns):
        return "measured"
    return "develop" if common.stable_hash(f"develop {key(turns)}") % 8 == 0 else "train"


def hh_turns(text: str) -> tuple[Messages, str]:
    """An HH-RLHF dialogue as turns and its last answer."""
    found = re.findall(r"\n\n(Human|Assistant): ?(.*?)(?=\n\n(?:Human|Assistant):|\Z)", text, re.S)
    turns = tuple(("user" if who == "Human" else "assistant", said.strip()) for who, said in found)
    return turns[:-1], turns[-1][1] if turns else ""


def dpo_turns(row: Mapping[str, Any]) -> Messages:
    """The turns of a row of the DPO file."""
    return tuple(
        ("user" if part["from"] == "human" else "assistant", part["value"])
        for part in row["conversations"]
    )


def instruction_answers(data: Path) -> Iterator[Answered]:
    """Good answers of the single-turn instruction files."""
    for source, path in (
        ("roleplay", "train/gpteacher_roleplay.json"),
        ("rasbt", "train/rasbt_instruction_data_1100.json"),
        ("gsm8k", "train/gsm8k_train_alpaca_format.json"),
    ):
        for row in common.read_rows(data / path):
            yield Answered(ask(row["instruction"], row["input"]), row["output"], source)
    for path in (
        "train/self_instruct_seed_tasks_175.jsonl",
        "eval/self_instruct_user_oriented_252.jsonl",
    ):
        for row in common.read_rows(data / path):
            for case in row["instances"]:
                turns = ask(row["instruction"], case["input"])
                yield Answered(turns, case["output"], "self_instruct")
    rows = [
        row
        for row in common.read_rows(data / common.T0_FILE)
        if len(row["completion"].split()) > 5
        and len(row["prompt"]) < 1200
        and common.t0_is_free(row)
    ]
    for row in random.Random(1).sample(rows, 3000):
        yield Answered(ask(row["prompt"]), row["completion"].removesuffix(common.T0_END), "t0")


def dialogue_answers(data: Path) -> Iterator[Answered]:
    """Good answers of the multi-turn files."""
    for row in common.read_rows(data / "pref/dpo_en_demo.json"):
        yield Answered(dpo_turns(row), row["chosen"]["value"], "dpo")
    for row in common.read_rows(data / "pref/kto_en_demo.json"):
        if row["label"]:
            turns = tuple((part["role"], part["content"]) for part in row["messages"])
            yield Answered(turns[:-1], turns[-1][1], "kto")
    for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl"):
        said = [part for part in re.split(r"### (Human|Assistant):", row["input"]) if part.strip()]
        turns = tuple(
            ("user" if who == "Human" else "assistant", text.strip())
            for who, text in zip(said[::2], said[1::2], strict=False)
        )
        if row["lang"] == "en" and turns and turns[-1][0] == "user":
            yield Answered(turns, row["output"], "oasst")


def benchmark_answers(data: Path) -> Iterator[Answered]:
    """Strong models' answers to MT-Bench and to the Vicuna questions."""
    questions = common.read_rows(data / "eval/mt_bench_question.jsonl")
    asks = {row["question_id"]: row["turns"][0] for row in questions}
    for row in common.read_rows(data / "judgments/mt_bench_answers/gpt-4o.jsonl"):
        yield Answered(ask(asks[row["question_id"]]), row["choices"][0]["turns"][0], "mt_bench")
    for turns, text, strength in vicuna_answers(data):
        if strength >= 4:
            yield Answered(turns, text, "vicuna")


def good_answers(data: Path) -> list[Answered]:
    """Good answers of the permissive files, to be broken."""
    return [
        Answered(row.turns, row.answer.strip(), row.source)
        for read in (instruction_answers, dialogue_answers, benchmark_answers)
        for row in read(data)
        if len(row.answer.split()) > 1
    ]


def vicuna_answers(data: Path) -> list[tuple[Messages, str, int]]:
    """Answers to the 80 Vicuna questions with the strength of the model."""
    asked = {
        row["question_id"]: row["turns"][0]
        for row in common.read_rows(data / "eval/vicuna_bench_question.jsonl")
    }
    out = []
    for stem, strength in VICUNA_ORDER.items():
        path = next(data.glob(f"{stem}*.jsonl" if "7b-" in stem else f"{stem}.jsonl"))
        for row in common.read_rows(path):
            text = (row.get("generation") or row.get("text") or "").split("### Human")[0]
            out.append((ask(asked[row["question_id"]]), text.strip(" :\n"), strength))
    return out


def graded_answers(data: Path) -> dict[Messages, list[tuple[str, int, str]]]:
    """By prompt: answers of models of known order."""
    out: dict[Messages, list[tuple[str, int, str]]] = defaultdict(list)
    for turns, text, strength in vicuna_answers(data):
        out[turns].append((text, strength, "graded_vicuna"))
    for name, strength in SELF_INSTRUCT_ORDER.items():
        path = data / f"judgments/self_instruct_predictions/{name}_predictions.jsonl"
        for row in common.read_rows(path):
            turns = ask(row["instruction"], row["input"] or "")
            out[turns].append((row["response"].strip(), strength, "graded_self_instruct"))
    return out


def preference_pairs(data: Path) -> list[Pair]:
    """Pairs that come with their order."""
    out = []
    for row in common.read_rows(data / "pref/rasbt_instruction_preference_1100.json"):
        turns = ask(row["instruction"], row["input"])
        out.append(Pair(turns, row["chosen"], row["rejected"], "rasbt_pref"))
    for row in common.read_rows(data / "pref/dpo_en_demo.json"):
        turns = dpo_turns(row)
        out.append(Pair(turns, row["chosen"]["value"], row["rejected"]["value"], "dpo_pref"))
    for row in common.read_rows(data / "pref/hh_rlhf_harmless_base_test.jsonl.gz"):
        turns, better = hh_turns(row["chosen"])
        other, worse = hh_turns(row["rejected"])
        if turns and turns == other and better and worse:
            out.append(Pair(turns, better, worse, "hh_pref"))
    return out


def foreign_answers(data: Path, held_out: bool) -> list[str]:
    """Replies in other languages than English."""
    return [
        row["output"]
        for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl")
        if row["lang"] != "en" and (common.stable_hash(row["output"]) % 8 == 0) == held_out
    ]
