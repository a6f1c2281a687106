"""Train the starter reward model: the starter LM's trunk with one number on top.

It learns from pairs of answers to one prompt which is better (Bradley-Terry), of two kinds: answers
that people or known strengths of models rank, and good answers against seeded synthetic faults.
Many pairs are of equal length and in some the shorter answer is better, so that length alone does
not explain the score. A small pointwise term, good answers against faulty ones across prompts,
puts the zero between them. Prompts are split by hash: no measured prompt was trained on.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import corruptions as faults
import torch
from transformers import AutoTokenizer, LlamaForSequenceClassification

CHAT_TEMPLATE = """{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}\
{% if not loop.last %}{{ '\\n\\n' }}{% endif %}\
{% else %}{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}{% endfor %}"""

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
    """Two answers to one prompt, the first better. `anchor`: usable across prompts."""

    turns: Messages
    better: str
    worse: str
    kind: str
    weight: float = 1.0
    anchor: bool = False


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
        out.append(Pair(turns, row["chosen"], row["rejected"], "rasbt_pref", 0.5))
    for row in common.read_rows(data / "pref/dpo_en_demo.json"):
        turns = dpo_turns(row)
        out.append(Pair(turns, row["chosen"]["value"], row["rejected"]["value"], "dpo_pref"))
    for row in common.read_rows(data / "pref/hh_rlhf_harmless_base_test.jsonl.gz"):
        turns, better = hh_turns(row["chosen"])
        other, worse = hh_turns(row["rejected"])
        if turns and turns == other and better and worse:
            out.append(Pair(turns, better, worse, "hh_pref", 0.5))
    return out


class Maker:
    """Draws training or held-out pairs."""

    def __init__(self, data: Path, held_out: bool) -> None:
        def mine(turns: Messages) -> bool:
            return measured_on(turns) == held_out

        self.good: dict[str, list[Answered]] = defaultdict(list)
        for row in good_answers(data):
            if mine(row.turns):
                self.good[row.source].append(row)
        self.pairs: dict[str, list[Pair]] = defaultdict(list)
        for pair in preference_pairs(data):
            if mine(pair.turns) and pair.better.strip() != pair.worse.strip():
                self.pairs[pair.kind].append(pair)
        self.graded: dict[str, list[tuple[Messages, list[tuple[str, int, str]]]]] = defaultdict(
            list
        )
        for turns, answers in graded_answers(data).items():
            if mine(turns):
                self.graded[answers[0][2]].append((turns, answers))
        rows = [row for rows in self.good.values() for row in rows]
        self.babbler = faults.Babbler(
            row.answer for row in random.Random(0).sample(rows, min(5000, len(rows)))
        )
        self.foreign = [
            row["output"]
            for row in common.read_rows(data / "eval/oasst1_validation_prompts.jsonl")
            if row["lang"] != "en" and (common.stable_hash(row["output"]) % 8 == 0) == held_out
        ]

    def counts(self) -> dict[str, int]:
        """Rows by source."""
        out = {name: len(rows) for name, rows in (self.good | self.pairs).items()}
        return out | {name: sum(len(a) for _, a in rows) for name, rows in self.graded.items()}

    def draw(self, rng: random.Random) -> Answered:
        """One good answer."""
        weights = {"roleplay": 5, "t0": 2.5, "gsm8k": 2, "rasbt": 3, "kto": 1.5, "dpo": 2,
                   "oasst": 2, "self_instruct": 2, "vicuna": 1.5, "mt_bench": 0.7}  # fmt: skip
        names = list(self.good)
        return rng.choice(self.good[rng.choices(names, [weights[n] for n in names])[0]])

    def graded_pair(self, rng: random.Random) -> Pair:
        """Answers of two models of different strength; many of like length, some shorter-better."""
        kind = rng.choices(("graded_vicuna", "graded_self_instruct"), (1, 1.2))[0]
        while True:
            turns, answers = rng.choice(self.graded[kind])
            if rng.random() < 0.7:
                answers = [answer for answer in answers if answer[1] > 0]
            options = [
                (a[0], b[0], a[1] - b[1]) for a in answers for b in answers
                if a[1] - b[1] >= 1 and a[0].split() != b[0].split() and a[0].strip()
            ]  # fmt: skip
            sizes = [len(a.split()) / max(1, len(b.split())) for a, b, _ in options]
            draw = rng.random()
            if draw < 0.4:
                options = [o for o, s in zip(options, sizes, strict=True) if 0.8 < s < 1.25]
            elif draw < 0.5:
                options = [o for o, s in zip(options, sizes, strict=True) if s <= 0.9]
            if not options:
                continue
            better, worse, gap = rng.choice(options)
            if draw > 0.9 and gap > 1 and len(better) > 1.3 * len(worse) > 60:
                better = faults.length_match(better, worse)
            return Pair(turns, better, worse, kind, 0.8 if gap == 1 else 1.0)

    def faulty(self, row: Answered, rng: random.Random, fault: str) -> str:
        """The row's answer with the named fault."""
        text = row.answer
        share = rng.choice((0.15, 0.3, 0.5, 0.8))
        size = len(text.split())
        made: Callable[[], str] = {
            "truncated": lambda: faults.truncate(text, rng),
            "off_topic": lambda: self.draw(rng).answer,
            "off_topic_near": lambda: self.neighbour(row, rng, 1),
            "off_topic_overlap": lambda: self.neighbour(row, rng, 16),
            "repetitive": lambda: rng.choice(
                (faults.repeat_sentence, faults.repeat_phrase, faults.repeat_words)
            )(text, rng),
            "looping": lambda: faults.loop_to_length(text, rng),
            "padded": lambda: (
                f"{text} {rng.choice(faults.sentences(text) or [text])} "
                f"{faults.length_match(self.draw(rng).answer, text)}"
            ),
            "wrong_language": lambda: faults.length_match(rng.choice(self.foreign), text),
            "gibberish": lambda: faults.gibberish(text, rng),
            "shuffled": lambda: faults.shuffle_words(text, rng, rng.choice((0.3, 0.6, 1.0))),
            "words_missing": lambda: rng.choice((faults.delete_words, faults.drop_small_words))(
                text, rng, share
            ),
            "typos": lambda: faults.typos(text, rng, share),
            "babble": lambda: self.babbler.babble(max(4, size), rng, rng.choice((1, 2))),
            "derailed": lambda: self.babbler.derail(text, rng),
            "words_substituted": lambda: self.babbler.replace(text, rng, share),
            "prompt_copied": lambda: (
                row.turns[-1][1]
                if rng.random() < 0.7
                else f"{row.turns[-1][1]}\n{faults.truncate(text, rng, 0.05, 0.3)}"
            ),
            "refusal": lambda: rng.choice(faults.REFUSALS),
            "empty": lambda: rng.choice(faults.EMPTYISH),
            "too_short": lambda: " ".join(text.split()[: rng.randint(1, 3)]).rstrip(".,"),
            "cut_short": lambda: faults.first_sentences(text, rng),
            "runs_on": lambda: (
                f"{text}\n\nInput: {self.draw(rng).turns[-1][1]}\nOutput: "
                f"{faults.truncate(self.draw(rng).answer, rng)}"
            ),
            "numbers_altered": lambda: faults.alter_numbers(text, rng),
        }[fault]
        return made()

    def neighbour(self, row: Answered, rng: random.Random, tries: int) -> str:
        """An answer to another prompt of the same source; the one nearest in words of `tries`."""
        known = set(row.turns[-1][1].lower().split())
        options = [rng.choice(self.good[row.source]).answer for _ in range(tries)]

        def near(text: str) -> float:
            said = set(text.lower().split())
            length = abs(math.log((len(text) + 1) / (len(row.answer) + 1)))
            return len(said & known) / math.sqrt(len(said) + 1) - 0.5 * length

        return max(options, key=near)

    def fault_pair(self, rng: random.Random, fault: str | None = None) -> Pair:
        """A good answer and a faulty one."""
        row = self.draw(rng)
        name = fault or rng.choices(tuple(FAULTS), tuple(FAULTS.values()))[0]
        if name == "numbers_altered" and row.source != "gsm8k":
            row = rng.choice(self.good["gsm8k"])
        if name in ("truncated", "too_short", "cut_short"):
            while len(row.answer.split()) < 8 or len(faults.sentences(row.answer)) < 2:
                row = self.draw(rng)
        worse = self.faulty(row, rng, name)
        if worse.split() == row.answer.split():
            worse, name = rng.choice(faults.EMPTYISH), "empty"
        better = row.answer
        if name.startswith("off_topic") and rng.random() < 0.5:
            worse = faults.length_match(worse, better)
        return Pair(row.turns, better, worse, name, 1.0, name != "numbers_altered")

    def pair(self, rng: random.Random) -> Pair:
        """One training pair."""
        draw = rng.random()
        if draw < 0.33:
            return self.graded_pair(rng)
        if draw < 0.48:
            kind = rng.choices(("rasbt_pref", "dpo_pref", "hh_pref"), (1, 1.5, 2.5))[0]
            return rng.choice(self.pairs[kind])
        return self.fault_pair(rng)


FAULTS = {
    "truncated": 3, "off_topic": 3, "off_topic_near": 3, "off_topic_overlap": 4, "repetitive": 3,
    "looping": 1, "padded": 1.5, "wrong_language": 1.5, "gibberish": 1, "shuffled": 1.5,
    "words_missing": 1.5, "typos": 1, "babble": 1, "derailed": 1.5, "words_substituted": 2,
    "prompt_copied": 2.5, "refusal": 1.5, "empty": 1.5, "too_short": 1.5, "cut_short": 2.5,
    "runs_on": 1.5,
    "numbers_altered": 1.5,
}  # fmt: skip


# ------------------------------------------------------------------------------- training


def render(tokenizer: Any, turns: Messages, answer: str) -> str:  # noqa: ANN401
    """The text that the model reads."""
    chat = [{"role": who, "content": said} for who, said in turns]
    chat.append({"role": "assistant", "content": answer})
    text: str = tokenizer.apply_chat_template(chat, tokenize=False)
    return text


def fit_in(pair: Pair, rng: random.Random, most: int) -> Pair:
    """Shorten very long pairs: the oldest turns go first, then both answers' later sentences."""
    turns = pair.turns[-3:] if sum(len(said) for _, said in pair.turns) > 700 else pair.turns
    turns = tuple((who, said if len(said) < 700 else said[-700:]) for who, said in turns)
    if pair.kind in FAULTS:
        limit = most * 3 if rng.random() < 0.15 else most
        if max(len(pair.better), len(pair.worse)) > limit:
            return Pair(turns, "", "", pair.kind)
        return Pair(turns, pair.better, pair.worse, pair.kind, pair.weight, pair.anchor)
    better, worse = pair.better, pair.worse
    if max(len(better), len(worse)) > most * 1.6:
        limit = "x" * most
        better, worse = faults.length_match(better, limit), faults.length_match(worse, limit)
    return Pair(turns, better, worse, pair.kind, pair.weight, pair.anchor)


def make_batches(
    pairs: Sequence[Pair],
    tokenizer: Any,
    args: argparse.Namespace,
    rng: random.Random,  # noqa: ANN401
) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Batches of both answers of pairs of like length: ids, mask, weights, anchors."""
    pairs = [p for p in (fit_in(pair, rng, args.longest) for pair in pairs) if p.better or p.worse]
    texts = [render(tokenizer, p.turns, a) for p in pairs for a in (p.better, p.worse)]
    ids = tokenizer(texts, add_special_tokens=False, truncation=True, max_length=768)["input_ids"]
    width = [max(len(ids[2 * at]), len(ids[2 * at + 1])) for at in range(len(pairs))]
    order = sorted(range(len(pairs)), key=lambda at: width[at] + rng.random() * 8)
    out, at = [], 0
    while at < len(order):
        size = 1
        while at + size < len(order) and width[order[at + size]] * 2 * (size + 1) < args.tokens:
            size += 1
        rows = order[at : at + size]
        at += size
        longest = max(width[row] for row in rows)
        batch = torch.full((2 * size, longest), tokenizer.pad_token_id, dtype=torch.long)
        mask = torch.zeros(2 * size, longest, dtype=torch.long)
        for place, row in enumerate(rows):
            for half in (0, 1):
                tokens = ids[2 * row + half]
                batch[place + half * size, : len(tokens)] = torch.tensor(tokens)
                mask[place + half * size, : len(tokens)] = 1
        weights = torch.tensor([pairs[row].weight for row in rows])
        anchors = torch.tensor([float(pairs[row].anchor) for row in rows])
        out.append((batch, mask, weights, anchors))
    rng.shuffle(out)
    return out


def pair_loss(
    scores: torch.Tensor, weights: torch.Tensor, anchors: torch.Tensor, pointwise: float
) -> torch.Tensor:
    """Bradley-Terry, plus the pointwise term of the pairs that are good against faulty."""
    better, worse = scores.float().chunk(2)
    soft = torch.nn.functional.softplus
    ranked = (weights * soft(worse - better)).sum() / weights.sum()
    placed = (anchors * (soft(-better) + soft(worse))).sum() / (2 * anchors.sum()).clamp(min=1)
    return ranked + pointwise * placed


def build(args: argparse.Namespace, tokenizer: Any) -> LlamaForSequenceClassification:  # noqa: ANN401
    """The language model's trunk with a fresh one-number head."""
    model = LlamaForSequenceClassification.from_pretrained(
        args.init, num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    torch.nn.init.normal_(model.score.weight, std=0.02)

    def drop(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(output, args.dropout, module.training)

    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.down_proj.register_forward_hook(drop)
    return model


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 100 steps to resume from."""
    work = args.scratch / "reward"
    tokenizer = AutoTokenizer.from_pretrained(args.init)
    tokenizer.chat_template = CHAT_TEMPLATE
    maker = Maker(args.data, held_out=False)
    print("rows", maker.counts(), flush=True)
    model = build(args, tokenizer)
    head = [p for n, p in model.named_parameters() if n.startswith("score")]
    trunk = [p for n, p in model.named_parameters() if not n.startswith("score")]
    optimizer = torch.optim.AdamW(
        [{"params": trunk, "scale": 1.0}, {"params": head, "scale": 2.0}],
        lr=args.rate, betas=(0.9, 0.98), weight_decay=0.05,
    )  # fmt: skip
    step, chunk, seen = 0, 0, 0
    state = common.load_checkpoint(work / "checkpoint.pt")
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, chunk, seen = state["step"], state["chunk"], state["seen"]
    began, tokens, losses = time.time(), 0, []
    model.train()
    while step < args.steps:
        rng = random.Random(args.seed * 1000 + chunk)
        chunk += 1
        drawn = [maker.pair(rng) for _ in range(3000)]
        for batch, mask, weights, anchors in make_batches(drawn, tokenizer, args, rng):
            if step >= args.steps:
                break
            factor = common.cosine_lr(step, args.steps, 60, 0.02)
            for group in optimizer.param_groups:
                group["lr"] = args.rate * factor * group["scale"]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                scores = model(input_ids=batch, attention_mask=mask, use_cache=False).logits[:, 0]
            loss = pair_loss(scores, weights, anchors, args.pointwise)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            seen += len(weights)
            tokens += int(mask.sum())
            losses.append(loss.item())
            if step % 50 == 0:
                mean, rate = sum(losses[-50:]) / 50, tokens / (time.time() - began)
                print(f"step {step} loss {mean:.4f} {seen} pairs {rate:.0f} tok/s", flush=True)
            if step % 100 == 0 or step == args.steps:
                keep = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                common.save_checkpoint(
                    work / "checkpoint.pt", keep | {"step": step, "chunk": chunk, "seen": seen}
                )
            if step % args.export_every == 0 or step == args.steps:
                common.save_half(model, args.out)
                tokenizer.save_pretrained(args.out)


# ------------------------------------------------------------------------------ measuring


def score(
    model: Any,
    tokenizer: Any,
    items: Sequence[tuple[Messages, str]],  # noqa: ANN401
) -> list[float]:
    """The reward of each answer."""
    texts = [render(tokenizer, turns, answer) for turns, answer in items]
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    out = [0.0] * len(texts)
    model.eval()
    for at in range(0, len(order), 16):
        rows = order[at : at + 16]
        batch = tokenizer(
            [texts[row] for row in rows], add_special_tokens=False, truncation=True,
            max_length=1024, padding=True, return_tensors="pt",
        )  # fmt: skip
        with torch.no_grad():
            logits = model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits[:, 0]
        for row, value in zip(rows, logits.tolist(), strict=True):
            out[row] = value
    return out


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


Wins = dict[str, list[float]]


def compare(model: Any, tokenizer: Any, pairs: Sequence[Pair]) -> Wins:
    """By column, pair by pair: 1 where the better answer has more of it, a half for ties."""
    items = [(p.turns, answer) for p in pairs for answer in (p.better, p.worse)]
    columns = {
        "reward": score(model, tokenizer, items),
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


def test_pairs(data: Path, maker: Maker) -> dict[str, list[Pair]]:
    """Pairs that no training row shares a prompt with."""
    trained = {
        key(turns) for turns in (
            [row.turns for row in good_answers(data)] + [p.turns for p in preference_pairs(data)]
            + list(graded_answers(data))
        ) if not measured_on(turns)
    }  # fmt: skip
    out: dict[str, list[Pair]] = {}
    weak = {
        (row["instruction"], row["input"]): row["output"]
        for row in common.read_rows(data / "train/alpaca_data.json")
    }
    rows = common.read_rows(data / "train/alpaca_en_demo_1k.json")
    out["alpaca"] = [
        Pair(ask(row["instruction"], row["input"]), row["output"], weak[place], "alpaca")
        for row in rows
        if (place := (row["instruction"], row["input"])) in weak
        and row["output"].strip() != weak[place].strip()
    ]
    prompts = {row["idx"]: row for row in common.read_rows(data / "eval/flask_evaluation.jsonl")}
    answers = {
        name: {
            row["question_id"]: row["text"]
            for row in common.read_rows(data / f"judgments/flask_outputs/{name}.jsonl")
        }
        for name in FLASK_ORDER
    }
    rng = random.Random(7)
    out["flask"] = []
    for place, row in prompts.items():
        turns = ask(row["instruction"])
        high, low = rng.sample(list(FLASK_ORDER), 2)
        if FLASK_ORDER[high] < FLASK_ORDER[low]:
            high, low = low, high
        one, two = answers[high].get(place, "").strip(), answers[low].get(place, "").strip()
        if one and two and one != two:
            out["flask"].append(Pair(turns, one, two, "flask"))
    out["hh_held_out"] = maker.pairs["hh_pref"]
    out["dpo_held_out"] = maker.pairs["dpo_pref"]
    out["rasbt_held_out"] = maker.pairs["rasbt_pref"]
    graded = []
    for rows_of in maker.graded.values():
        for turns, given in rows_of:
            options = [(a[0], b[0]) for a in given for b in given if a[1] > b[1] and a[0] != b[0]]
            graded += [
                Pair(turns, *pair, "graded") for pair in rng.sample(options, min(6, len(options)))
            ]
    out["graded_held_out"] = graded
    return {name: [p for p in pairs if key(p.turns) not in trained] for name, pairs in out.items()}


SOURCES = {
    "roleplay": ("GPTeacher roleplay", "teknium1/GPTeacher", "MIT"),
    "rasbt": ("Synthetic instruction data, 1,100", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    "gsm8k": ("GSM8K train", "openai/grade-school-math", "MIT"),
    "self_instruct": (
        "Self-Instruct seed and user-oriented tasks",
        "yizhongw/self-instruct",
        "Apache-2.0",
    ),
    "t0": ("T0 rows with targets of six words or more", "see training/README.md", "Apache-2.0"),
    "dpo": ("DPO demonstration file, chosen answers", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "kto": ("KTO demonstration file, wanted answers", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "oasst": (
        "OASST1 validation, English; other languages as faults",
        "OpenAssistant/oasst1",
        "Apache-2.0",
    ),
    "mt_bench": ("MT-Bench answers, one model", "lm-sys/FastChat", "Apache-2.0"),
    "vicuna": ("Answers to the Vicuna questions, strong models", "lm-sys/FastChat", "Apache-2.0"),
    "rasbt_pref": ("Instruction preference pairs", "rasbt/LLMs-from-scratch", "Apache-2.0"),
    "dpo_pref": ("DPO demonstration file, pairs", "hiyouga/LLaMA-Factory", "Apache-2.0"),
    "hh_pref": ("HH-RLHF, harmless-base test split, pairs", "Anthropic/hh-rlhf", "MIT"),
    "graded_vicuna": (
        "Answers to the Vicuna questions, 15 models",
        "lm-sys/FastChat; artidoro/qlora",
        "Apache-2.0; MIT",
    ),
    "graded_self_instruct": (
        "Answers to the Self-Instruct user-oriented tasks, 8 models",
        "yizhongw/self-instruct",
        "Apache-2.0",
    ),
}
TESTS = {
    "alpaca": "stronger answer above Alpaca's (LLaMA-Factory demonstration file)",
    "flask": "two of five models of known order on FLASK prompts, one pair a prompt",
    "hh_held_out": "HH-RLHF harmlessness, labelled by people",
    "dpo_held_out": "DPO demonstration pairs",
    "rasbt_held_out": "rasbt preference pairs (tone)",
    "graded_held_out": "models of known order, held-out prompts",
    "pooled": "all of these",
}


def accuracy_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Share ordered rightly, the reward beside trivial features."""
    names = ("pairs", "reward", "length", "mtld", "overlap")
    rows = [(TESTS[test], *(found[test][name] for name in names)) for test in TESTS]
    return common.table(("held-out pairs", *names), rows)


def card(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """The model card: what was done and what was measured."""
    maker = Maker(args.data, held_out=False)
    state = common.load_checkpoint(args.scratch / "reward/checkpoint.pt")
    same, free = found["length_matched"], found["all_lengths"]
    trivial = ("length", "mtld", "overlap")
    missed = []
    for name, values, aim in (("length-matched", same, 0.65), ("all lengths", free, 0.0)):
        pooled = values["pooled"]
        best = max(pooled[feature] for feature in trivial)
        if pooled["reward"] < max(aim, best):
            missed.append(f"pooled, {name}: {pooled['reward']:.3f}, aimed at {max(aim, best):.3f}")
        missed += [
            f"{test}, {name}: {values[test]['reward']:.3f}, {feature} alone {values[test][feature]}"
            for test in TESTS
            for feature in trivial
            if test != "pooled" and values[test][feature] > values[test]["reward"]
        ]
    missed += [
        f"fault `{fault}` is seen in {values['reward']:.0%} of pairs only"
        for fault, values in found["faults"].items()
        if values["reward"] < 0.75
    ]
    faulty = [
        (fault, *(values[name] for name in ("pairs", "reward", *trivial)))
        for fault, values in found["faults"].items()
    ]
    common.write_card(
        args.out,
        title="Starter reward model",
        purpose=(
            "A small Llama with one number on top: higher is better. It stands behind `reward` in "
            "the starter profile, so that everything runs without a network. It mostly tells "
            "fluent, complete answers from empty, looping, cut, foreign or garbled ones. It is "
            "weak at noticing unrelated answers, and as a judge of which of two fluent answers is "
            "better it is close to chance at equal length and worse than length alone otherwise "
            "(see Missed). It "
            "cannot judge whether an answer is true, whether a calculation is right, whether code "
            "works, or safety; it knows English only. Published rules fitted on another reward "
            "model do not apply to its scores."
        ),
        facts={
            "architecture": "LlamaForSequenceClassification, one label, last token pooled",
            "parameters": f"{found['parameters']:,}",
            "initialised from": "a copy of the starter LM at step 800, before it was finished",
            "seed": args.seed,
            "steps": f"{args.steps:,}",
            "pairs drawn": f"{state['seen']:,}" if state else "not recorded",
            "batch": f"up to {args.tokens:,} tokens",
            "loss": f"Bradley-Terry + {args.pointwise} x pointwise, good against faulty",
            "weights": "float16 safetensors",
            "input": "the tokenizer's chat template, ends with the end token; 1,024 tokens at most",
        },
        sources=[
            common.Source(*SOURCES[name], rows=count) for name, count in maker.counts().items()
        ],
        sections={
            "Pairs": (
                "About half are good answers against seeded faults (`training/corruptions.py`), a "
                "third are answers of models of known strength to one prompt, the rest comes with "
                "its order. The strengths follow the human evaluation of the Self-Instruct paper "
                "and the published evaluations on the Vicuna questions; equals are not compared. "
                "Two fifths of the graded pairs are of like length and a tenth have the shorter "
                "answer as the better one. Every eighth prompt, by a hash of its first twelve "
                "words, is held out of everything."
            ),
            "Measured: pairs of like length": (
                "Share of pairs ordered rightly, from the saved folder in single precision; word "
                "counts within a quarter of each other. No prompt was trained on.\n\n"
                + accuracy_table(same)
            ),
            "Measured: pairs of any length": accuracy_table(free),
            "Measured: synthetic faults, held-out prompts": common.table(
                ("fault", "pairs", "reward", *trivial), faulty
            ),
            "Missed": "\n".join(f"- {line}" for line in missed) or "No aim was missed.",
        },
        tags=("llama", "reward-model"),
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Quality of the exported folder, loaded in single precision."""
    model = LlamaForSequenceClassification.from_pretrained(args.out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    maker = Maker(args.data, held_out=True)
    tests = test_pairs(args.data, maker)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters())}
    found["all_lengths"], found["length_matched"] = {}, {}
    pooled: Wins = defaultdict(list)
    like: list[bool] = []
    for name, pairs in tests.items():
        wins, same = compare(model, tokenizer, pairs), [matched(pair) for pair in pairs]
        found["all_lengths"][name] = shares(wins)
        found["length_matched"][name] = shares(wins, same)
        like += same
        for column, values in wins.items():
            pooled[column] += values
    found["all_lengths"]["pooled"] = shares(pooled)
    found["length_matched"]["pooled"] = shares(pooled, like)
    rng = random.Random(args.seed + 1)
    found["faults"] = {}
    for fault in FAULTS:
        pairs = [maker.fault_pair(rng, fault) for _ in range(100)]
        pairs = [p for p in pairs if p.kind == fault]
        found["faults"][fault] = shares(compare(model, tokenizer, pairs))
    (args.scratch / "reward/measured.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def parse() -> argparse.Namespace:
    """Command line."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--init", type=Path, default=common.ASSETS / "lm")
    parser.add_argument("--out", type=Path, default=common.ASSETS / "reward")
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--longest", type=int, default=600, help="characters of a usual answer")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--dropout", type=float, default=0.05)
    parser.add_argument("--pointwise", type=float, default=0.3)
    parser.add_argument("--export-every", type=int, default=300)
    parser.add_argument("--measure", action="store_true", help="only measure the exported folder")
    return parser.parse_args()


def main() -> None:
    """Train unless told only to measure, then measure the exported folder."""
    args = parse()
    common.set_up(args.seed, args.threads)
    if not args.measure:
        train(args)
    found = measure(args)
    card(args, found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
