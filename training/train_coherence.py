"""Train the starter dialogue evaluator to see whether a response belongs to its history.

`train_unieval.py` makes a model that judges responses, and hardly compares them with what they
answer. This script starts from weights that compare (`unieval_comparison.py`), refines them on real
responses, and then learns the other two questions from the earlier model's answers.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import quantiles
from typing import Any

import common
import torch
from train_unieval import VECTORS, first_folder, take_step
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration
from unieval_comparison import set_comparison
from unieval_examples import QUESTIONS, Example
from unieval_model import answer_ids, answer_loss, batches, encode, optimizers_of, score
from unieval_related import Related

ALONE = ("naturalness", "understandability")
"""Questions about the response alone."""
PAIRS = 1500
"""Pairs of examples made at a time."""


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own optimisers. alone: share of pairs about `ALONE`."""

    steps: int
    matrix_rate: float
    rate: float
    alone: float


STAGES = (Stage(3600, 4e-4, 1.5e-3, 0.0), Stage(4000, 5e-4, 2e-3, 0.5))


def parse() -> argparse.Namespace:
    """Command line."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--out", type=Path, default=common.ASSETS / "unieval")
    parser.add_argument("--like", type=Path, help="the earlier model; default: unieval/first")
    parser.add_argument("--vectors", type=Path, default=VECTORS, help="static word vectors")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--longest", type=int, default=384, help="tokens of a training example")
    args = parser.parse_args()
    args.like = args.like or first_folder(args.scratch)
    return args


class Lessons:
    """What is shown: real responses at first, then all questions."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.related = Related(args.data, args.seed, args.scratch / "unieval", development=False)
        self.tokenizer = PreTrainedTokenizerFast.from_pretrained(args.like)
        self.earlier = T5ForConditionalGeneration.from_pretrained(args.like, dtype=torch.float32)
        some = random.Random(args.seed).sample(self.related.maker.clean, 1000)
        self.passable = quantiles(self.natural([turn.response for turn in some]), n=4)[0]

    def natural(self, responses: Sequence[str]) -> list[float]:
        """How natural the earlier model finds each response."""
        texts = [QUESTIONS["naturalness"].format(response=text) for text in responses]
        return score(self.earlier, self.tokenizer, texts)

    def examples(self, share: float, rng: random.Random) -> list[Example]:
        """Pairs of examples, a share of them about the response alone."""
        if not share:
            return self.related.real_pairs(rng, PAIRS)
        count = round(share * PAIRS)
        return self.alone(count, rng) + self.coherent(PAIRS - count, rng)

    def alone(self, pairs: int, rng: random.Random) -> list[Example]:
        """Pairs about the response alone, with the earlier model's answers as targets."""
        maker = self.related.maker
        made = [
            one
            for _ in range(pairs)
            for one in maker.asked(rng.choice(ALONE), rng.randrange(len(maker.turns)), rng)
        ]
        answers = score(self.earlier, self.tokenizer, [one.text for one in made])
        return [replace(one, target=answer) for one, answer in zip(made, answers, strict=True)]

    def coherent(self, pairs: int, rng: random.Random) -> list[Example]:
        """Pairs about coherence: near the history, and as natural as three of four real ones."""
        made = self.related.pairs(rng, pairs)
        natural = self.natural([one.response for one in made])
        return [
            replace(one, target=one.target * min(1.0, answer / self.passable))
            for one, answer in zip(made, natural, strict=True)
        ]


def train(args: argparse.Namespace) -> None:
    """Train in stages, with a checkpoint every 200 steps to resume from."""
    lessons = Lessons(args)
    model = T5ForConditionalGeneration(lessons.earlier.config)
    set_comparison(model, lessons.tokenizer, args.vectors)
    PreTrainedTokenizerFast.from_pretrained(args.like).save_pretrained(args.out)
    path = args.scratch / "unieval/coherence.pt"
    state = common.load_checkpoint(path) or {"stage": 0, "step": 0, "chunk": 0}
    if "model" in state:
        model.load_state_dict(state["model"])
    for at in range(state["stage"], len(STAGES)):
        for step, chunk, optimizers in train_stage(model, lessons, at, state, args):
            keep = {"model": model.state_dict(), "stage": at, "step": step, "chunk": chunk}
            keep["optimizers"] = [optimizer.state_dict() for optimizer in optimizers]
            common.save_checkpoint(path, keep)
            common.save_half(model, args.out)
        state = {"stage": at + 1, "step": 0, "chunk": 0}


def train_stage(
    model: T5ForConditionalGeneration,
    lessons: Lessons,
    at: int,
    state: Mapping[str, Any],
    args: argparse.Namespace,
) -> Iterator[tuple[int, int, list[torch.optim.Optimizer]]]:
    """Go on with a stage where `state` says; yields what to keep every 200 steps."""
    stage, step, chunk = STAGES[at], state["step"], state["chunk"]
    optimizers = optimizers_of(model, stage.matrix_rate, stage.rate)
    if step:
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
    yes, no = answer_ids(lessons.tokenizer)
    began, seen = time.time(), []
    while step < stage.steps:
        rng = random.Random((args.seed * 10 + at) * 1000 + chunk)
        chunk += 1
        rows = encode(lessons.tokenizer, lessons.examples(stage.alone, rng), args.longest)
        for batch in batches(rows, args.tokens, rng)[: stage.steps - step]:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss, _ = answer_loss(model, batch, yes, no)
            loss.backward()
            take_step(model, optimizers, common.cosine_lr(step, stage.steps, 50, 0.01))
            step += 1
            seen.append(loss.item())
            if step % 100 == 0:
                mean = sum(seen[-100:]) / len(seen[-100:])
                print(f"stage {at} {step} {mean:.4f} {time.time() - began:.0f} s", flush=True)
            if step % 200 == 0:
                yield step, chunk, optimizers


def main() -> None:
    """Train."""
    args = parse()
    common.set_up(args.seed, args.threads)
    train(args)


if __name__ == "__main__":
    main()
