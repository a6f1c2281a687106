"""First weights with which the starter dialogue evaluator compares texts from its first step on.

A tiny T5 with random weights learns what is wrong inside a response, and hardly ever that a fluent
response belongs to another dialogue: no gradient leads there. So the first weights are set to a
rough comparison, which the training then refines. Words are static vectors; the first encoder layer
finds out which words stand in the response and which in the last turn; two heads of the second one
let each word of the response look for its like in the last turn, and look at the closing end mark
where it finds none; the decoder sums up how many of the response's words found nothing.
"""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration


class Place(IntEnum):
    """Coordinates of the hidden state that are kept free for the comparison, from its end."""

    ONE = -11
    """1 at every token."""
    END = -10
    """Set at an end mark."""
    FIRST = -9
    """Set at the first word of every input, "question"."""
    BREAK = -8
    """Set at a line break, which parts the turns of the history."""
    WEIGHT = -7
    """How much the word says, from the length of its static vector."""
    MARKS = -6
    """4 times the share of end marks among those and first words so far."""
    CLOSING = -5
    """4 times the share of end marks among those and line breaks from here on."""
    RESPONSE = -4
    """About 1 in the response, 0 elsewhere."""
    LAST = -3
    """About 1 in the history's last turn, 0 in the turns before it."""
    MISSED = -2
    """How surely a word of the response has no like in the last turn, up to 8."""
    ANSWER = -1
    """What the decoder says: above 0 for "Yes"."""


FREE = len(Place)
ALIKE = (0, 1)
"""Heads of the last encoder layer that look for a word's like."""
SO_FAR, FROM_HERE = 2, 5
"""Heads of the first encoder layer that count marks."""
PREVIOUS, NEXT = 3, 4
NEVER = -20.0
"""An attention score that leaves nothing."""
MARK = 10.0
"""The value of a mark's coordinate at the mark."""


def set_comparison(
    model: T5ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    """Set the first weights in place; what is not named below stays random, and small.

    folder: static word vectors, as `model.safetensors` and `tokenizer.json`.
    """
    with torch.no_grad():
        table = words(tokenizer, model.config.d_model, folder)
        model.shared.weight.copy_(table)
        for stack in (model.encoder, model.decoder):
            for name, weight in stack.named_parameters():
                if name.endswith(("wo.weight", "SelfAttention.o.weight")):
                    weight.mul_(0.3)
                if name.endswith(("wo.weight", ".o.weight")):
                    weight[-FREE:] = 0.0
        mark = normed(table[tokenizer.eos_token_id])[Place.END]
        count_marks(model, mark)
        look_for_the_like(model, mark)
        sum_up(model)


def normed(state: Tensor) -> Tensor:
    """A hidden state as T5's norm with unit weights leaves it."""
    return state / state.pow(2).mean().sqrt()


def words(tokenizer: PreTrainedTokenizerFast, width: int, folder: Path) -> Tensor:
    """(tokens, width): the static vector of each token's text, and the coordinates of `Place`."""
    vectors = next(iter(load_file(folder / "model.safetensors").values())).float()
    pieces = Tokenizer.from_file(str(folder / "tokenizer.json"))
    usual = float(vectors.norm(dim=1).mean())
    size = vectors.shape[1]
    table = torch.randn(len(tokenizer), width) * 0.3
    table[:, :size] = torch.randn(len(tokenizer), size)
    table[:, -FREE:] = 0.0
    table[:, Place.ONE] = 1.0
    table[:, Place.WEIGHT] = -2.5
    for token in range(len(tokenizer)):
        ids = pieces.encode(tokenizer.decode([token]).strip(), add_special_tokens=False).ids
        vector = vectors[ids].mean(0) if ids else vectors[0] * 0
        if (length := vector.norm() / usual) > 1e-3:
            table[token, :size] = vector / vector.std()
            table[token, Place.WEIGHT] = length.log().clamp(-2.5, 0.5)
    mark = torch.cat((torch.randn(width - FREE) * 0.3, torch.zeros(FREE)))
    mark[Place.ONE] = 1.0
    first, line_break = (tokenizer(text)["input_ids"] for text in ("question", "a\nb"))
    for place, token in (
        (Place.END, tokenizer.eos_token_id),
        (Place.FIRST, first[0]),
        (Place.BREAK, line_break[1]),
    ):
        table[token] = mark
        table[token, place] = MARK
    yes, no = (tokenizer(text)["input_ids"][0] for text in ("Yes", "No"))
    table[yes, Place.ANSWER], table[no, Place.ANSWER] = 3.0, -3.0
    table[tokenizer.pad_token_id, Place.ANSWER] = 0.0  # where the decoder starts from
    return table


def count_marks(model: T5ForConditionalGeneration, mark: Tensor) -> None:
    """Let the first encoder layer tell response, last turn and the rest apart."""
    layer = model.encoder.block[0].layer
    attention, forward, size = layer[0].SelfAttention, layer[1].DenseReluDense, model.config.d_kv
    bias = attention.relative_attention_bias.weight  # bucket 0: here; 1 to 15: before; 16: after
    bias[:16, list(ALIKE)] = bias[0, SO_FAR] = bias[16:, SO_FAR] = bias[1:16, FROM_HERE] = NEVER
    bias[16:, list(ALIKE)] = bias[1:16, SO_FAR] = bias[16:, FROM_HERE] = bias[0, FROM_HERE] = 0.0
    bias[1, PREVIOUS] = bias[17, NEXT] = 8.0
    for head, other, put in (
        (SO_FAR, Place.FIRST, Place.MARKS),
        (FROM_HERE, Place.BREAK, Place.CLOSING),
    ):
        rows, row = slice(head * size, (head + 1) * size), head * size
        for weight in (attention.q.weight, attention.k.weight, attention.v.weight):
            weight[rows] = 0.0
        attention.q.weight[row, Place.ONE] = 1.0
        attention.k.weight[row, [Place.END, other]] = 3.0
        attention.v.weight[row, Place.END] = 1.0
        attention.o.weight[:, row] = 0.0
        attention.o.weight[put, row] = 4.0 / mark
    # MARKS is 0 in the question, 2 in the response, 2.67 in the history.
    forward.wi.weight[:3] = 0.0
    for unit, place, from_ in ((0, Place.MARKS, 1.0), (1, Place.MARKS, 2.1), (2, Place.CLOSING, 3)):
        forward.wi.weight[unit, place] = 1.0
        forward.wi.weight[unit, Place.ONE] = -from_
    forward.wo.weight[:, :3] = 0.0
    forward.wo.weight[Place.RESPONSE, :2] = torch.tensor([1.0, -1.67 / 0.57])
    forward.wo.weight[Place.LAST, 2] = 1.0


def look_for_the_like(model: T5ForConditionalGeneration, mark: Tensor) -> None:
    """Let heads of the last encoder layer find, ahead, the last turn's words that are alike.

    Each compares the next 31 coordinates of the static vectors. A word whose likes score below the
    closing end mark looks there, which MISSED tells.
    """
    attention, size = model.encoder.block[-1].layer[0].SelfAttention, model.config.d_kv
    for head in ALIKE:
        rows, row = slice(head * size, (head + 1) * size), head * size
        seen = torch.arange(row, row + size - 1)
        last = row + size - 1
        for weight in (attention.q.weight, attention.k.weight):
            weight[rows] = 0.0
            weight[seen, seen] = 0.55
        attention.q.weight[last, Place.ONE] = 1.0
        attention.k.weight[last, Place.RESPONSE] = -15.0
        attention.k.weight[last, Place.LAST] = 5.0
        attention.k.weight[last, Place.END] = 6.0 / mark
        attention.v.weight[row] = 0.0
        attention.v.weight[row, Place.END] = 4.0 / mark
        attention.o.weight[:, row] = 0.0
        attention.o.weight[Place.MISSED, row] = 1.0


def sum_up(model: T5ForConditionalGeneration) -> None:
    """Let the decoder's first head average MISSED over the response's telling words."""
    attention, size = model.decoder.block[0].layer[1].EncDecAttention, model.config.d_kv
    for weight in (attention.q.weight, attention.k.weight, attention.v.weight):
        weight[:size] = 0.0
    attention.q.weight[0, Place.ONE] = 1.0
    attention.k.weight[0, Place.RESPONSE] = 10.0
    attention.k.weight[0, Place.WEIGHT] = 2.0
    attention.k.weight[0, Place.END] = -1.0
    attention.v.weight[0, Place.MISSED] = 1.0
    attention.o.weight[:, 0] = 0.0
    attention.o.weight[Place.ANSWER, 0] = -0.7
