"""Train the starter reward model: the starter LM's trunk with one number on top.

It learns from groups of answers to one prompt which are better (Bradley-Terry over all pairs of a
group), and on clean answers to follow a linear teacher (`reward_teacher.py`). Each prompt is held
back or not by a hash: no measured prompt is trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import reward_card
import torch
from reward_data import Messages
from reward_groups import SEEDED, UNRELATED, Group, Groups
from reward_measure import measure, summary
from reward_teacher import Teacher
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoTokenizer, LlamaForSequenceClassification

CHAT_TEMPLATE = """{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}\
{% if not loop.last %}{{ '\\n\\n' }}{% endif %}\
{% else %}{{ raise_exception('Unknown role: ' + message['role']) }}{% endif %}{% endfor %}"""


LENGTHS = (256, 512, 768)
"""Where a step's texts are cut, in tokens."""
TAUGHT = 8
"""Clean answers that the teacher puts in order at a time."""
POINTWISE = 1.0
"""Weight of telling good answers from faulty ones across prompts."""


def encode(
    tokenizer: Any,  # noqa: ANN401
    turns: Messages,
    answers: Sequence[str],
    most: int,
) -> list[list[int]]:
    """Ids of each answer behind the prompt; cut as the package cuts, the prompt's start first."""
    chat = [{"role": who, "content": said} for who, said in turns]
    chat.append({"role": "assistant", "content": ""})
    before = tokenizer.apply_chat_template(chat, tokenize=False).removesuffix(tokenizer.eos_token)
    asked = len(tokenizer(before, add_special_tokens=False)["input_ids"])
    texts = [before + answer + tokenizer.eos_token for answer in answers]
    out = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        over = max(0, len(ids) - most)
        gone = min(over, max(0, asked - 1))
        out.append((ids[:1] + ids[1 + gone : -1])[: most - 1] + ids[-1:])
    return out


@dataclass
class Drawn:
    """Texts whose scores are compared with one another.

    weights: what it counts that one text is above another; None where only the teacher has an
    opinion. taught: the teacher's rewards; it knows nothing of faulty texts (None) and of those
    that belong to another prompt (NaN). sound: 1 for a good text and 0 for a faulty one, None where
    that is not known.
    """

    kind: str
    ids: list[list[int]]
    weights: torch.Tensor | None = None
    taught: torch.Tensor | None = None
    sound: torch.Tensor | None = None

    def loss(self, scores: torch.Tensor) -> torch.Tensor:
        """Bradley-Terry with the order that is known, and with the teacher's odds."""
        total = torch.zeros(())
        if self.weights is not None:
            total = total + group_loss(scores, self.weights)
        if self.taught is not None:
            total = total + taught_loss(scores, self.taught)
        if self.sound is not None:
            total = total + POINTWISE * pointwise_loss(scores, self.sound)
        return total


class Drawer:
    """Draws what a step is made of."""

    def __init__(self, args: argparse.Namespace, tokenizer: Any, parts: set[str]) -> None:  # noqa: ANN401
        self.args, self.tokenizer = args, tokenizer
        self.groups = Groups(args.data, parts, args.scratch / "reward")
        ordered = self.groups.ordered()
        self.teacher = Teacher(ordered, tokenizer, np.random.default_rng(args.seed))
        self.clean = [(row.turns, row.answer) for row in self.groups.rows]
        self.clean += [(group.turns, text) for group in ordered for text, _ in group.answers]

    def draw(self, rng: random.Random, most: int) -> Drawn:
        """A group with its order, or clean answers for the teacher."""
        if rng.random() < self.args.taught:
            items = rng.sample(self.clean, TAUGHT)
            ids = [encode(self.tokenizer, turns, [text], most)[0] for turns, text in items]
            return Drawn("taught", ids, taught=self.rewards(items, ids))
        group, ids = self.group(rng, most)
        items = [(group.turns, text) for text, _ in group.answers]
        weights, kind = pair_weights(group, self.args.matched), group.kind.split("_")[0]
        if group.kind in SEEDED:
            sound = torch.tensor([level for _, level in group.answers])
            return Drawn(kind, ids, weights, sound=sound)
        taught = self.rewards(items, ids)
        taught[[level == UNRELATED for _, level in group.answers]] = torch.nan
        return Drawn(kind, ids, weights, taught=taught)

    def group(self, rng: random.Random, most: int) -> tuple[Group, list[list[int]]]:
        """A group and its ids. The good answer among faulty ones fits: cut, it would be faulty."""
        while True:
            group = self.groups.draw(rng)
            ids = encode(self.tokenizer, group.turns, [text for text, _ in group.answers], most)
            if group.kind not in SEEDED or len(ids[0]) < most:
                return group, ids

    def rewards(
        self, items: Sequence[tuple[Messages, str]], ids: Sequence[list[int]]
    ) -> torch.Tensor:
        """The teacher's rewards of answers as far as the student sees them."""
        seen = []
        for (turns, text), one in zip(items, ids, strict=True):
            own = len(self.tokenizer(text, add_special_tokens=False)["input_ids"])
            seen.append((turns, self.tokenizer.decode(one[1:-1]) if own > len(one) - 2 else text))
        return torch.tensor(self.teacher.rewards(seen), dtype=torch.float32)


def build(args: argparse.Namespace) -> tuple[LlamaForSequenceClassification, Any]:
    """The language model's trunk with a new output."""
    tokenizer = AutoTokenizer.from_pretrained(args.init)
    tokenizer.chat_template = CHAT_TEMPLATE
    model = LlamaForSequenceClassification.from_pretrained(
        args.init, num_labels=1, dtype=torch.float32
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def pair_weights(group: Group, matched: float) -> torch.Tensor:
    """[i, j]: how much it counts that answer i is above answer j; more where they are as long."""
    levels = torch.tensor([level for _, level in group.answers])
    words = torch.tensor([float(len(answer.split())) for answer, _ in group.answers])
    gap = levels[:, None] - levels[None]
    longer = torch.maximum(words[:, None], words[None])
    alike = torch.minimum(words[:, None], words[None]) >= 0.75 * longer
    return (gap >= 1) * (0.5 + 0.5 * (gap >= 2)) * (1 + matched * alike)


def group_loss(scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Bradley-Terry over the pairs of a group."""
    loss = torch.nn.functional.softplus(scores[None] - scores[:, None])
    return (weights * loss).sum() / weights.sum().clamp(min=1e-6)


def pointwise_loss(scores: torch.Tensor, sound: torch.Tensor) -> torch.Tensor:
    """Good texts belong above 0 and faulty ones below, whatever was asked; both weigh alike."""
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, sound, reduction="none")
    sides = [loss[sound == side].mean() for side in (0, 1) if (sound == side).any()]
    return torch.stack(sides).mean()


def taught_loss(scores: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with the teacher's odds of each pair."""
    known = taught.isfinite()
    scores, taught = scores[known], taught[known]
    odds = torch.sigmoid(taught[:, None] - taught[None])
    gaps = scores[:, None] - scores[None]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(gaps, odds, reduction="none")
    own = 1 - torch.eye(len(scores))
    return (own * loss).sum() / own.sum().clamp(min=1)


def forward(model: torch.nn.Module, ids: Sequence[list[int]], most: int) -> torch.Tensor:
    """Scores of texts, computed in batches of texts of like length, `most` tokens each."""
    order = sorted(range(len(ids)), key=lambda at: len(ids[at]))
    parts, at = [], 0
    while at < len(order):
        size = 1
        while at + size < len(order) and len(ids[order[at + size]]) * (size + 1) <= most:
            size += 1
        rows = order[at : at + size]
        at += size
        longest = -(-max(len(ids[row]) for row in rows) // 16) * 16
        batch = torch.zeros(size, longest, dtype=torch.long)
        for place, row in enumerate(rows):
            batch[place, : len(ids[row])] = torch.tensor(ids[row])
        with torch.autocast("cpu", dtype=torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            parts.append(model(input_ids=batch, use_cache=False).logits[:, 0].float())
    return torch.cat(parts)[torch.tensor(order).argsort()]


def train(args: argparse.Namespace) -> None:
    """Train, with a checkpoint every 100 steps to resume from."""
    parts = {"train"} if args.develop else {"train", "develop"}
    model, tokenizer = build(args)
    drawer = Drawer(args, tokenizer, parts)
    optimizer = torch.optim.AdamW(model.parameters(), args.rate, (0.9, 0.98), weight_decay=0.01)
    work = args.scratch / "reward/checkpoint.pt"
    state = common.load_checkpoint(work)
    step, pairs, tokens = 0, 0, 0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, pairs, tokens = state["step"], state["pairs"], state["tokens"]
    began, start, losses = time.time(), tokens, []
    kinds: dict[str, list[float]] = defaultdict(list)
    model.train()
    while step < args.steps:
        rng = random.Random(args.seed * 100_000 + step)
        most = rng.choice(LENGTHS)
        drawn: list[Drawn] = []
        ids: list[list[int]] = []
        while sum(map(len, ids)) < args.tokens:
            drawn.append(drawer.draw(rng, most))
            ids += drawn[-1].ids
        for place in optimizer.param_groups:
            place["lr"] = args.rate * common.cosine_lr(step, args.steps, 50, 0.02)
        scores = forward(model, ids, args.tokens)
        loss, at = torch.zeros(()), 0
        for group in drawn:
            one = group.loss(scores[at : at + len(group.ids)])
            kinds[group.kind].append(one.item())
            loss = loss + one / len(drawn)
            pairs += 0 if group.weights is None else int((group.weights > 0).sum())
            at += len(group.ids)
        loss = loss + 0.001 * scores.mean().square()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens += sum(map(len, ids))
        losses.append(loss.item())
        if step % 25 == 0:
            mean, speed = sum(losses[-25:]) / 25, (tokens - start) / (time.time() - began)
            print(f"step {step} loss {mean:.4f} {pairs} pairs {speed:.0f} tok/s", flush=True)
            recent = {name: values[-100:] for name, values in kinds.items()}
            print({name: round(sum(v) / len(v), 3) for name, v in recent.items()}, flush=True)
        if step % 100 == 0 or step == args.steps:
            keep = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            keep |= {"step": step, "pairs": pairs, "tokens": tokens}
            common.save_checkpoint(work, keep)
            common.save_half(model, args.out)
            tokenizer.save_pretrained(args.out)


def parse() -> argparse.Namespace:
    """Command line."""
    parser = common.base_parser(__doc__)
    parser.add_argument("--init", type=Path, default=common.ASSETS / "lm", help="trunk")
    parser.add_argument("--out", type=Path, default=common.ASSETS / "reward")
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--tokens", type=int, default=4096, help="tokens in a batch")
    parser.add_argument("--rate", type=float, default=6e-4)
    parser.add_argument("--matched", type=float, default=1.0, help="extra weight of like lengths")
    parser.add_argument("--taught", type=float, default=0.4, help="share of draws for the teacher")
    parser.add_argument("--develop", action="store_true", help="measure on development prompts")
    parser.add_argument("--measure", action="store_true", help="only measure the exported folder")
    return parser.parse_args()


def main() -> None:
    """Train unless told only to measure, then measure the exported folder."""
    args = parse()
    common.set_up(args.seed, args.threads)
    if not args.measure:
        train(args)
    found = measure(args.out, args.data, "develop" if args.develop else "measured")
    print(summary(found))
    if not args.develop:
        (args.scratch / "reward/measured.json").write_text(json.dumps(found, indent=1) + "\n")
        state = common.load_checkpoint(args.scratch / "reward/checkpoint.pt") or {}
        reward_card.write(args, found, {name: state.get(name) for name in ("pairs", "tokens")})


if __name__ == "__main__":
    main()
