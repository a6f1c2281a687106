"""Responses sampled from a small language model: the faults that resemble dialogue systems.

The starter causal LM is tuned for part of an epoch on the bank's turns and then answers the history
of every turn that examples are made of, greedily or with nucleus sampling; some answers continue
the first words of the real response. What it says is locally fluent, often off topic, dull or
repetitive.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import common
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer
from unieval_turns import USED, Turn, bank

NUCLEUS = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Shares of probability sampled from; 0 is greedy decoding."""
LONGEST = 36
BATCH = 128


@dataclass(frozen=True)
class Sample:
    """What the model answered, how it was sampled, and how many words of the real turn it kept."""

    response: str
    nucleus: float
    kept: int


def prompt(turn: Turn, turns: int = 2) -> str:
    """The last turns before a response, one a line."""
    return "\n".join(" ".join(part.split()[-40:]) for part in turn.history[-turns:]) + "\n"


def tune(folder: Path, start: Path, turns: Sequence[Turn], args: argparse.Namespace) -> None:
    """Some steps on the turns that are not held out, from the weights in `start`, into `folder`."""
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForCausalLM.from_pretrained(start, dtype=torch.float32)
    end = tokenizer.eos_token_id
    rng = random.Random(args.seed)
    texts = [prompt(turn, 1) + turn.response for turn in turns if not turn.held]
    rows = [ids[-128:] + [end] for ids in tokenizer(texts)["input_ids"]]
    rows.sort(key=lambda ids: len(ids) + 8 * rng.random())
    groups, at = [], 0
    while at < len(rows):
        size = max(1, args.tokens // len(rows[min(len(rows) - 1, at + 63)]))
        groups.append(rows[at : at + size])
        at += size
    rng.shuffle(groups)
    groups = groups[: args.steps]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=0.0)
    began, losses = time.time(), []
    for step, group in enumerate(groups):
        width = max(map(len, group))
        ids = torch.tensor([row + [end] * (width - len(row)) for row in group])
        real = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in group])
        labels = torch.where(real > 0, ids, -100)
        for part in optimizer.param_groups:
            part["lr"] = args.rate * common.cosine_lr(step, len(groups), 20, 0.02)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, attention_mask=real, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % 20 == 0:
            mean = sum(losses[-20:]) / 20
            print(f"{step + 1}/{len(groups)} {mean:.3f} {time.time() - began:.0f} s", flush=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def finish(text: str) -> str:
    """The first line of an answer, up to its last whole sentence where that keeps most of it."""
    line = " ".join(text.split("\n")[0].split())
    last = max(line.rfind(mark) for mark in ".!?")
    return line[: last + 1] if last + 1 > len(line) / 2 else line


def answer(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    nucleus: float,
) -> list[str]:
    """One answer to each prompt."""
    tokenizer.padding_side = "left"
    batch = tokenizer(list(prompts), padding=True, return_tensors="pt")
    how = {"do_sample": True, "top_p": nucleus, "top_k": 0} if nucleus else {"do_sample": False}
    with torch.no_grad():
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=LONGEST,
            pad_token_id=tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **how,
        )
    new = out[:, batch["input_ids"].shape[1] :]
    return [tokenizer.decode(row, skip_special_tokens=True) for row in new]


def sample(folder: Path, model_folder: Path, turns: Sequence[Turn], seed: int) -> None:
    """Answer every history that has no answer yet; finished batches are kept."""
    path = folder / "samples.jsonl"
    done = {row["at"] for row in common.read_rows(path)} if path.exists() else set()
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    model.generation_config.max_length = None
    order = [at for at in range(len(turns)) if at not in done]
    order.sort(key=lambda at: len(prompt(turns[at])))
    began = time.time()
    for first in range(0, len(order), BATCH):
        group = order[first : first + BATCH]
        torch.manual_seed(seed * 100_000 + group[0])
        rng = random.Random(seed * 100_000 + group[0])
        nucleus = rng.choice(NUCLEUS)
        heads = []
        for at in group:
            words = turns[at].response.split()
            keep = rng.randint(1, max(1, len(words) // 2)) if rng.random() < 0.3 else 0
            heads.append(" ".join(words[:keep]))
        prompts = [prompt(turns[at]) + head for at, head in zip(group, heads, strict=True)]
        said = answer(model, tokenizer, prompts, nucleus)
        rows = [
            {
                "at": at,
                "response": finish(head + text),
                "nucleus": nucleus,
                "kept": len(head.split()),
            }
            for at, head, text in zip(group, heads, said, strict=True)
        ]
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        print(f"{first + len(group)}/{len(order)} {time.time() - began:.0f} s", flush=True)


def samples(folder: Path, count: int) -> list[Sample]:
    """The sampled responses, in the order of the bank."""
    rows = common.read_rows(folder / "samples.jsonl")
    found = {row.pop("at"): Sample(**row) for row in rows}
    return [found[at] for at in range(count)]


def main() -> None:
    """Tune unless it was done, then sample what is not sampled yet."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--start", type=Path, default=common.ASSETS / "lm", help="causal LM")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--steps", type=int, default=263, help="batches to tune on, at most")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    args = parser.parse_args()
    common.set_up(args.seed, args.threads)
    folder = args.scratch / "unieval"
    turns = bank(args.data, args.seed, folder)
    if not (folder / "generator/config.json").exists():
        tune(folder / "generator", args.start, turns, args)
    sample(folder, folder / "generator", turns[:USED], args.seed)


if __name__ == "__main__":
    main()
