"""Sentence embeddings of examples: what the indicators that compare examples read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from instructmine.contracts import Batch, Column, Context, Indicator, Scored, Scorer, execution
from instructmine.modelref import ModelRef
from instructmine.models.spec import TRUNCATION, ModelSpec
from instructmine.pool import Example

if TYPE_CHECKING:
    from instructmine.models.encoder import Encoder

Text = Literal["pair", "prompt", "response"]


@dataclass(frozen=True, kw_only=True)
class Embedding(Indicator):
    """A vector of unit length per example, so that distance and cosine agree.

    The paper's encoder is `all-MiniLM-L6-v2` on the whole pair (arXiv 2307.06290); a causal LM
    gives its position-weighted mean hidden state, as RDS+ has it (arXiv 2503.01807).

    model: a sentence-transformers folder, a plain encoder, a static encoder or a causal LM.
    text: the whole "pair" (user and assistant messages in order, one per line; system messages
    are left out, as they repeat), the "prompt" alone or the "response" alone.
    max_length: tokens of the text; the encoder's own limit by default.
    """

    version = 1
    vector = True
    columns = (Column("embedding", "unknown", "unit vector"),)

    model: ModelRef = ModelRef("starter:encoder")
    text: Text = "pair"
    dtype: str = "float32"
    max_length: int | None = None
    batch_tokens: int | None = execution(None)
    gpus: float = execution(1.0)

    def identity(self) -> dict[str, Any]:
        """The fields, with the token limit in force and the truncation rule."""
        return {**super().identity(), "max_length": self._limit(), "truncation": TRUNCATION}

    def _limit(self) -> int | None:
        return ModelSpec.read(self.model).encoder_length(self.max_length)

    def open(self, context: Context, columns: Sequence[str]) -> Scorer:
        """Load the encoder. Raises ModelError where the folder holds nothing that encodes."""
        from instructmine.models.static import StaticEncoder

        spec = ModelSpec.read(self.model)
        if spec.is_static_encoder:
            return _EmbeddingScorer(StaticEncoder(spec, self._limit()), self.text)
        from instructmine.models.encoder import load_encoder

        encoder = load_encoder(
            spec,
            dtype=self.dtype,
            max_length=self._limit(),
            batch_tokens=self.batch_tokens,
            context=context,
        )
        return _EmbeddingScorer(encoder, self.text)


class _EmbeddingScorer:
    def __init__(self, encoder: Encoder, text: Text) -> None:
        self.encoder = encoder
        self._text = text

    def score(self, batch: Batch) -> Scored:
        texts = [_parts(example, self._text) for example in batch.examples]
        reasons = {
            position: reason
            for position, (example, parts) in enumerate(zip(batch.examples, texts, strict=True))
            if (reason := _why_not(example, parts, self._text))
        }
        vectors, failed, cut = self.encoder.encode(texts)
        vectors[list(reasons)] = float("nan")
        truncated = frozenset(position for position in cut if position not in reasons)
        return Scored({"embedding": vectors}, failed | reasons, truncated)


def _parts(example: Example, text: Text) -> tuple[str, str]:
    """Return (what is cut first, what is kept longest); together they are the text."""
    if text == "prompt":
        return "", example.prompt
    if text == "response":
        return "", example.response
    spoken = [m for m in example.messages if m.role in ("user", "assistant")]
    last = max((i for i, m in enumerate(spoken) if m.role == "assistant"), default=len(spoken))
    before = "".join(message.content + "\n" for message in spoken[:last])
    return before, spoken[last].content if last < len(spoken) else ""


def _why_not(example: Example, parts: tuple[str, str], text: Text) -> str:
    if text == "pair" and not example.response.strip():
        return "empty response"
    return "" if "".join(parts).strip() else f"empty {text}"
