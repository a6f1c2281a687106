"""How a conversation becomes token ids to train on, and which of them carry the loss.

One rendering and one tokenisation of the whole conversation. The loss is on every assistant
message and on the end token that the template writes right behind it: a model that never sees
the end trained does not learn to stop.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.models.spec import ModelSpec
from instructmine.models.templates import PLAIN, ChatTemplate, Renderer, TemplateRefusalError
from instructmine.models.tokens import TextEncoder
from instructmine.pool import Example


@dataclass(frozen=True)
class TrainingText:
    """Token ids of a conversation. targets: ascending positions whose token is to be predicted.

    cut: whether something was left out because the text is longer than the model reads.
    """

    ids: list[int]
    targets: list[int]
    cut: bool = False

    def __len__(self) -> int:
        """Tokens of the whole text."""
        return len(self.ids)


def training_template(spec: ModelSpec, tokenizer: Any) -> ChatTemplate:
    """Return the model's own chat template, or the plain one between its start and end token.

    The start token stands where scoring puts it (`CausalLM.spans`), so that a model is measured
    on the text that it was trained on.
    """
    own = spec.template()
    if own.origin != "plain":
        return own
    start = spec.start_token().token
    if isinstance(start, int):
        start = tokenizer.convert_ids_to_tokens(start)
    end = tokenizer.eos_token or ""
    closing = (
        "{%- if not add_generation_prompt and messages[-1].role == 'assistant' -%}"
        f"{{{{ {end!r} }}}}{{%- endif -%}}"
    )
    return ChatTemplate(f"{{{{ {start!r} }}}}{PLAIN.source}{closing}", "plain")


class TrainingTexts:
    """Turns examples into training texts for one model."""

    def __init__(self, spec: ModelSpec, tokenizer: Any, max_length: int | None) -> None:
        self.template = training_template(spec, tokenizer)
        self.max_length = spec.max_length(max_length)
        self._renderer = Renderer(self.template, tokenizer.special_tokens_map)
        self._encoder = TextEncoder(tokenizer)
        self._special: Collection[int] = frozenset(tokenizer.all_special_ids) | {
            number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        }

    def encode(self, example: Example) -> TrainingText:
        """Encode one example. Raises TemplateRefusalError where the template does not accept it.

        A text that is too long loses its prompt (or earliest turns) from the left, behind the
        start token, then its last response from the right, as in scoring.
        """
        text, places = self._renderer.conversation(example.messages)
        spans = self._encoder.several(text, places)
        ids = spans[-1].ids
        wanted = np.zeros(len(ids), dtype=bool)
        for span in spans:
            end = span.end
            while span.response and end < len(ids) and ids[end] in self._special:
                end += 1
            wanted[span.start : end] = True
        wanted[:1] = False  # nothing precedes the first token, so nothing predicts it
        if not wanted.any():
            raise TemplateRefusalError("its responses have no tokens")
        over = 0 if self.max_length is None else len(ids) - self.max_length
        if over <= 0:
            return TrainingText(ids, np.flatnonzero(wanted).tolist())
        from_left = min(over, max(0, spans[-1].start - 1))
        kept = np.r_[0, 1 + from_left : len(ids)][: self.max_length]
        return TrainingText([ids[i] for i in kept], np.flatnonzero(wanted[kept]).tolist(), cut=True)


def encode_all(
    texts: TrainingTexts, examples: Sequence[Example]
) -> tuple[list[TrainingText], dict[str, int]]:
    """Encode examples; returns the texts and how many were left out, by reason."""
    found: list[TrainingText] = []
    refused: dict[str, int] = {}
    for example in examples:
        try:
            found.append(texts.encode(example))
        except TemplateRefusalError as error:
            refused[str(error)] = refused.get(str(error), 0) + 1
    return found, refused
