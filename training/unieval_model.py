"""The starter dialogue evaluator itself: tokenizer, tiny T5, first weights, loss and answers."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from tokenizers.trainers import BpeTrainer
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from unieval_examples import Example

MASK = "<extra_id_0>"


def build_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over lower-cased text; `do n't` and `don't` become the same tokens.

    Like T5's own tokenizer it turns a literal `</s>` into the end token and appends one.
    """
    tokenizer = Tokenizer(models.BPE())
    rules = [
        (r"[ \t]+", " "),
        (r" *\n\s*", "\n"),
        (r"[‘’`]", "'"),
        (r"[“”]|''", '"'),
        (r" (?=n't\b)", ""),
        (r" (?='(?:s|re|ve|ll|d|m)\b)", ""),
        (r" (?=[.,!?;:%)\]])", ""),
        (r"(?<=[(\[$]) ", ""),
        (r"(?<=\w) - (?=\w)", "-"),
        (r"(?<=\w)n' t\b", "n't"),
        (r"\s+$", ""),
    ]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase()]
        + [normalizers.Replace(Regex(find), put) for find, put in rules]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    end = AddedToken("</s>", lstrip=True, rstrip=True, normalized=False, special=True)
    special = ["<pad>", end, "<unk>", MASK]
    trainer = BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        show_progress=False,
        max_token_length=16,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token=end,
        unk_token="<unk>",
        mask_token=MASK,
        model_max_length=1024,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(vocabulary: int, args: argparse.Namespace) -> T5ForConditionalGeneration:
    """A fresh tiny T5 with shared embeddings."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=args.width,
        d_kv=32,
        num_heads=args.width // 32,
        d_ff=args.hidden,
        num_layers=args.layers,
        num_decoder_layers=1,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5ForConditionalGeneration(config)


def set_start(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Start from static word vectors, with heads that know where to look.

    The first coordinates of an embedding are the vector of the token's text. Of six heads two look
    at the previous and at the next token; three have queries equal to keys
    and avoid their own place, so that a token finds its like elsewhere, in the history too.
    Branches start small.
    """
    vectors = next(iter(load_file(folder / "model.safetensors").values())).float()
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    width = model.config.d_model
    table = torch.randn(len(tokenizer), width) * 0.3
    for token in range(4, len(tokenizer)):
        ids = pieces.encode(tokenizer.decode([token]).strip(), add_special_tokens=False).ids
        if ids:
            mean = vectors[ids].mean(0)
            table[token, : len(mean)] = mean / (mean.std() + 1e-6)
    with torch.no_grad():
        model.shared.weight.copy_(table)
        for name, weight in model.named_parameters():
            if name.endswith(("wo.weight", "SelfAttention.o.weight")):
                weight.mul_(0.3)
        bias = model.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight
        bias[0, :3] = -8.0
        bias[1, 3] = bias[17, 4] = 8.0
        for block in model.encoder.block:
            attention = block.layer[0].SelfAttention
            for head in range(3):
                rows = slice(head * model.config.d_kv, (head + 1) * model.config.d_kv)
                basis = torch.linalg.qr(torch.randn(width, model.config.d_kv))[0].T * 0.5
                attention.q.weight[rows] = basis
                attention.k.weight[rows] = basis


def optimizers_of(
    model: torch.nn.Module, matrix_rate: float, rate: float
) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and attention biases."""
    named = dict(model.named_parameters())
    hidden = [
        weight
        for name, weight in named.items()
        if weight.ndim == 2 and min(weight.shape) > 32 and "shared" not in name
    ]
    chosen = {id(weight) for weight in hidden}
    rest = [weight for weight in named.values() if id(weight) not in chosen]
    return [
        torch.optim.Muon(hidden, lr=matrix_rate, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
    ]


@dataclass(frozen=True)
class Row:
    """One encoded example. sound: per token 1 or 0 inside the response, -1 outside it."""

    ids: list[int]
    sound: list[int]
    target: float


def encode(
    tokenizer: PreTrainedTokenizerFast, examples: Sequence[Example], longest: int
) -> list[Row]:
    """Token ids of the examples, and which tokens of the responses are sound."""
    encoded = tokenizer(
        [example.text for example in examples],
        truncation=True,
        max_length=longest,
        return_offsets_mapping=True,
    )
    out = []
    for ids, offsets, example in zip(
        encoded["input_ids"], encoded["offset_mapping"], examples, strict=True
    ):
        sound, word = [-1] * len(ids), 0
        for place, (start, end) in enumerate(offsets):
            while word < len(example.spans) and example.spans[word][1] < end:
                word += 1
            if word == len(example.spans):
                break
            if start < end and end > example.spans[word][0]:
                sound[place] = example.spans[word][2]
        out.append(Row(ids, sound, example.target))
    return out


@dataclass(frozen=True)
class Batch:
    """Rows of like length, padded."""

    ids: torch.Tensor
    sound: torch.Tensor
    target: torch.Tensor


def batches(rows: Sequence[Row], budget: int, rng: random.Random) -> list[Batch]:
    """Length-bucketed batches of about `budget` tokens, in random order."""
    ordered = sorted(rows, key=lambda row: len(row.ids) + rng.random() * 8)
    out, at = [], 0
    while at < len(ordered):
        size, width = 0, 0
        while at + size < len(ordered):
            width = max(width, len(ordered[at + size].ids))
            if size and width * (size + 1) > budget:
                break
            size += 1
        group = ordered[at : at + size]
        width = max(len(row.ids) for row in group)
        ids = torch.zeros(size, width, dtype=torch.long)
        sound = torch.full((size, width), -1.0)
        for place, row in enumerate(group):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
            sound[place, : len(row.ids)] = torch.tensor(row.sound, dtype=torch.float)
        out.append(Batch(ids, sound, torch.tensor([row.target for row in group])))
        at += size
    rng.shuffle(out)
    return out


def answer_loss(
    model: T5ForConditionalGeneration, batch: Batch, yes: int, no: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the answers, and the encoder's output (rows, tokens, width)."""
    out = model(
        input_ids=batch.ids,
        attention_mask=(batch.ids != 0).long(),
        decoder_input_ids=torch.zeros(len(batch.ids), 1, dtype=torch.long),
    )
    logits = out.logits[:, 0].float()
    loss = binary_cross_entropy_with_logits(logits[:, yes] - logits[:, no], batch.target)
    return loss, out.encoder_last_hidden_state


def losses(
    model: T5ForConditionalGeneration, judge: torch.nn.Linear, batch: Batch, yes: int, no: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cross-entropies of the answer, and of what each word of the response tells on its own.

    `judge` reads the encoder's output token by token, and serves the training alone: its first
    value tells the response's sound words from the others, its second answers the question.
    """
    answer, states = answer_loss(model, batch, yes, no)
    known = batch.sound >= 0
    marks = judge(states[known]).float()
    wanted = batch.target[:, None].expand_as(batch.sound)[known]
    return (
        answer,
        binary_cross_entropy_with_logits(marks[:, 0], batch.sound[known]),
        binary_cross_entropy_with_logits(marks[:, 1], wanted),
    )


def answer_ids(tokenizer: PreTrainedTokenizerFast) -> tuple[int, int]:
    """The first token ids of "Yes" and "No"."""
    return tokenizer("Yes")["input_ids"][0], tokenizer("No")["input_ids"][0]


def score(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[float]:
    """P(Yes) / (P(Yes) + P(No)) of each text."""
    yes, no = answer_ids(tokenizer)
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    out = [0.0] * len(texts)
    model.eval()
    for at in range(0, len(order), 32):
        rows = order[at : at + 32]
        batch = tokenizer(
            [texts[row] for row in rows],
            padding=True,
            truncation=True,
            max_length=1024,
            return_tensors="pt",
        )
        with torch.no_grad():
            logits = model(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                decoder_input_ids=torch.zeros(len(rows), 1, dtype=torch.long),
            ).logits[:, 0]
        for row, value in zip(
            rows, torch.sigmoid(logits[:, yes] - logits[:, no]).tolist(), strict=True
        ):
            out[row] = value
    return out
