"""Token ids of a text whose response has a known place, and how they are cut to fit.

The whole text is tokenised once and the place of the response is read off the tokenizer's
offsets: tokenising prompt and whole separately lets the boundary drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from instructmine.errors import ModelError
from instructmine.models.spec import OPENASSISTANT_REWARD, ModelSpec
from instructmine.models.templates import Rendered, Renderer, TemplateRefusalError
from instructmine.pool import Turn

_TOKENIZER_FILES = ("tokenizer.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken")


@dataclass(frozen=True)
class TokenSpan:
    """Ids of a text; the response is `ids[start:end]`. cut: whether something was left out."""

    ids: list[int]
    start: int
    end: int
    cut: bool = False

    def __len__(self) -> int:
        """Tokens of the whole text."""
        return len(self.ids)

    @property
    def response(self) -> list[int]:
        """The response's ids."""
        return self.ids[self.start : self.end]

    def behind(self, token: int) -> TokenSpan:
        """Return the same text with a token put in front."""
        return TokenSpan([token, *self.ids], self.start + 1, self.end + 1, self.cut)

    def fit(self, limit: int | None, keep: int = 0) -> TokenSpan:
        """Cut to `limit` tokens: the prompt from its left, then the response from its right.

        keep: that many tokens at the front (a BOS) and everything behind the response stay.
        """
        over = 0 if limit is None else len(self.ids) - limit
        if over <= 0:
            return self
        from_prompt = min(over, max(0, self.start - keep))
        end = max(self.start, self.end - (over - from_prompt))
        kept = min(keep, self.start)
        prompt = self.ids[:kept] + self.ids[kept + from_prompt : self.start]
        start = len(prompt)
        ids = (prompt + self.ids[self.start : end] + self.ids[self.end :])[:limit]
        return TokenSpan(ids, start, min(start + end - self.start, len(ids)), cut=True)


class TextEncoder:
    """Tokenises rendered texts with a model's tokenizer, whatever padding it declares."""

    def __init__(self, tokenizer: Any) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()

    def spans(self, texts: Sequence[Rendered], *, special: bool = False) -> list[TokenSpan]:
        """Return the ids of each text and the place of its response in them.

        special: add the tokens that the tokenizer adds by itself; a rendered chat has its own.
        A token that straddles a boundary belongs to the response.
        """
        whole = [text.before + text.response + text.after for text in texts]
        encodings = self._backend.encode_batch(whole, add_special_tokens=special)
        return [
            self._span(encoding, len(text.before), len(text.before) + len(text.response))
            for encoding, text in zip(encodings, texts, strict=True)
        ]

    def several(self, text: str, places: Sequence[tuple[int, int]]) -> list[TokenSpan]:
        """Return one span per place of a text that is tokenised once; all share its ids."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return [self._span(encoding, start, end) for start, end in places]

    @staticmethod
    def _span(encoding: Any, start: int, end: int) -> TokenSpan:
        # A character without a token (a dropped blank) leads on to the next that has one.
        token = encoding.char_to_token
        first = next((t for c in range(start, end) if (t := token(c)) is not None), None)
        if first is None:
            return TokenSpan(encoding.ids, len(encoding.ids), len(encoding.ids))
        last = next(t for c in range(end - 1, start - 1, -1) if (t := token(c)) is not None)
        ids = encoding.ids
        stop = last + 1
        if stop < len(ids):  # one character can be several tokens; char_to_token names the first
            offsets = encoding.offsets
            while stop < len(ids) and offsets[stop][0] < min(end, offsets[stop][1]):
                stop += 1
        return TokenSpan(ids, first, stop)


def encode_turns(
    renderer: Renderer, encoder: TextEncoder, turns: Sequence[Turn], *, to_response_end: bool
) -> tuple[list[TokenSpan], dict[int, str]]:
    """Render and tokenise turns; a turn that cannot be has an empty span and a reason.

    to_response_end: leave out what the template writes behind the response.
    """
    reasons: dict[int, str] = {}
    texts: dict[int, Rendered] = {}
    for index, turn in enumerate(turns):
        try:
            text = renderer.turn(turn.history, turn.response)
        except TemplateRefusalError as error:
            reasons[index] = f"the chat template refuses it: {error}"
            continue
        texts[index] = replace(text, after="") if to_response_end else text
    spans = [TokenSpan([], 0, 0)] * len(turns)
    for index, span in zip(texts, encoder.spans(list(texts.values())), strict=True):
        spans[index] = span
        if not span.response:
            reasons[index] = "the response has no tokens"
    return spans, reasons


def load_tokenizer(spec: ModelSpec) -> Any:
    """Load a model's tokenizer from its folder. Raises ModelError where there is none that fits."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from instructmine.models.loading import quiet

    unknown_to_auto = spec.model_type in ("", OPENASSISTANT_REWARD)
    if not any(any(spec.folder.glob(name)) for name in _TOKENIZER_FILES):
        raise ModelError(  # transformers would make up an empty vocabulary
            f"model '{spec.name}' has no tokenizer; give a folder with tokenizer.json"
        )
    loader = PreTrainedTokenizerFast if unknown_to_auto else AutoTokenizer
    with quiet():
        try:
            tokenizer = loader.from_pretrained(
                str(spec.folder), local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            raise ModelError(
                f"the tokenizer of model '{spec.name}' cannot be loaded ({_first_line(error)}); "
                "give a folder with tokenizer.json"
            ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"the tokenizer of model '{spec.name}' gives no character offsets; add its "
            "tokenizer.json to the folder"
        )
    return tokenizer


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
