"""Train a tiny T5 to answer UniEval's three questions: what is wrong inside a response.

The model reads the literal UniEval input strings and answers "Yes" or "No" at the first decoder
step. Run `unieval_generator.py` and `unieval_teacher.py` first: they make the sampled responses and
the vectors that the examples need. `train_coherence.py` makes the shipped model of it.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import common
import torch
from transformers import PreTrainedTokenizerFast
from unieval_examples import Maker
from unieval_model import (
    answer_ids,
    batches,
    build_model,
    build_tokenizer,
    encode,
    losses,
    optimizers_of,
    set_start,
)
from unieval_quality import measure

VECTORS = Path("../shared/models/model2vec-bge-base-128")


def parse() -> argparse.Namespace:
    """Command line."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--out", type=Path, help="default: unieval/first in --scratch")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vectors", type=Path, default=VECTORS, help="static word vectors")
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--longest", type=int, default=256, help="tokens of a training example")
    parser.add_argument("--word-loss", type=float, default=0.5, help="weight of the judge")
    parser.add_argument("--matrix-rate", type=float, default=1.5e-3, help="peak, hidden matrices")
    parser.add_argument("--rate", type=float, default=2e-3, help="peak, the other weights")
    args = parser.parse_args()
    args.out = args.out or first_folder(args.scratch)
    return args


def first_folder(scratch: Path) -> Path:
    """Where this script leaves its model unless told otherwise."""
    return scratch / "unieval/first"


def take_step(
    model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer], factor: float
) -> None:
    """Clip the gradients, move the weights, forget the gradients."""
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def make_tokenizer(maker: Maker, args: argparse.Namespace) -> PreTrainedTokenizerFast:
    """The tokenizer of an earlier run, or a new one."""
    folder = args.scratch / "unieval/tokenizer"
    if folder.exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    examples = maker.examples(random.Random(args.seed), 15000)
    texts = (example.text.replace("</s>", " ") + " Yes No" for example in examples)
    tokenizer = build_tokenizer(texts, args.vocabulary)
    tokenizer.save_pretrained(folder)
    return tokenizer


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 200 steps to resume from."""
    folder = args.scratch / "unieval"
    maker = Maker(args.data, args.seed, folder, development=False)
    print("turns", maker.counts(), flush=True)
    tokenizer = make_tokenizer(maker, args)
    yes, no = answer_ids(tokenizer)
    model = build_model(len(tokenizer), args)
    set_start(model, tokenizer, args.vectors)
    judge = torch.nn.Linear(args.width, 2)
    both = torch.nn.ModuleDict({"model": model, "judge": judge})
    optimizers = optimizers_of(both, args.matrix_rate, args.rate)
    step, chunk = 0, 0
    if state := common.load_checkpoint(folder / "checkpoint.pt"):
        both.load_state_dict(state["both"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        step, chunk = state["step"], state["chunk"]
    began, seen = time.time(), []
    while step < args.steps:
        rng = random.Random(args.seed * 1000 + chunk)
        chunk += 1
        rows = encode(tokenizer, maker.examples(rng, 1500), args.longest)
        for batch in batches(rows, args.tokens, rng):
            if step >= args.steps:
                break
            with torch.autocast("cpu", dtype=torch.bfloat16):
                parts = losses(model, judge, batch, yes, no)
            (parts[0] + args.word_loss * (parts[1] + parts[2])).backward()
            take_step(both, optimizers, common.cosine_lr(step, args.steps, 50, 0.01))
            step += 1
            seen.append([part.item() for part in parts])
            if step % 50 == 0:
                means = [sum(part) / 50 for part in zip(*seen[-50:], strict=True)]
                print(step, *means, f"{time.time() - began:.0f} s", flush=True)
            if step % 200 == 0 or step == args.steps:
                keep = {"both": both.state_dict(), "step": step, "chunk": chunk}
                keep["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
                common.save_checkpoint(folder / "checkpoint.pt", keep)
            if step % 400 == 0 or step == args.steps:
                common.save_half(model, args.out)
                tokenizer.save_pretrained(args.out)


def main() -> None:
    """Train and measure on held-out dialogues."""
    args = parse()
    common.set_up(args.seed, args.threads)
    train(args)
    print(json.dumps(measure(args.out, args), indent=1))


if __name__ == "__main__":
    main()
