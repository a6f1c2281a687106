"""Sentence encoders: texts to float32 vectors of unit length.

Three kinds of folder: the commonest sentence-transformers layout, which takes the mean of the last
hidden states; its other layouts and plain transformers encoders (through the sentence-transformers
library, whose import takes seconds); and causal language models, whose last hidden states are
averaged with weights that grow with the position, as RDS+ does (arXiv 2503.01807).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from instructmine.contracts import Context
from instructmine.errors import ModelError
from instructmine.models.batching import BatchRunner, right_pad, workers_for
from instructmine.models.loading import (
    load_model,
    quiet,
    require_safetensors,
    torch_device,
    torch_dtype,
)
from instructmine.models.spec import ModelSpec
from instructmine.models.templates import Rendered
from instructmine.models.tokens import TextEncoder, TokenSpan, load_tokenizer

_POOLERS = ("pooler.",)  # BERT's head for another task, which many encoders come without
Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Anything that turns (prompt, response) texts into vectors."""

    def encode(
        self, texts: Sequence[tuple[str, str]]
    ) -> tuple[Vectors, dict[int, str], frozenset[int]]:
        """Return (n, width) unit vectors, reasons for NaN rows, and positions of cut texts."""
        ...


class TransformerEncoder:
    """A transformer that pools its hidden states into one vector per text."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        device: torch.device,
        max_length: int | None,
        batch_tokens: int | None = None,
        prompt: str = "",
    ) -> None:
        self.model = model
        self.encoder = TextEncoder(tokenizer)
        self.max_length = max_length
        self.runner = BatchRunner(device, batch_tokens, workers_for(model, device))
        self._prompt = prompt
        self._pad = int(tokenizer.pad_token_id or 0)
        self._ahead = _special_ahead(self.encoder)
        self.width = self._pool([TokenSpan([self._pad, self._pad], 0, 2)]).shape[1]

    def encode(
        self, texts: Sequence[tuple[str, str]]
    ) -> tuple[Vectors, dict[int, str], frozenset[int]]:
        """Return (n, width) unit vectors, reasons for NaN rows, and positions of cut texts."""
        rendered = [Rendered(self._prompt + before, text, "") for before, text in texts]
        spans = [
            span.fit(self.max_length, keep=self._ahead)
            for span in self.encoder.spans(rendered, special=True)
        ]
        empty = {i: "no tokens to encode" for i, span in enumerate(spans) if not span.ids}
        chosen = [index for index in range(len(spans)) if index not in empty]

        def forward(batch: list[int]) -> npt.NDArray[np.float64]:
            return self._pool([spans[chosen[index]] for index in batch])

        lengths = [len(spans[index]) for index in chosen]
        found, failed = self.runner.run(lengths, forward, self.width)
        vectors = np.full((len(texts), self.width), np.nan, dtype=np.float32)
        vectors[chosen] = found
        reasons = empty | {chosen[position]: why for position, why in failed.items()}
        return vectors, reasons, frozenset(i for i, span in enumerate(spans) if span.cut)

    def _pool(self, spans: Sequence[TokenSpan]) -> npt.NDArray[np.float64]:
        ids, mask = right_pad([span.ids for span in spans], self._pad, self.runner.device)
        with torch.inference_mode():
            pooled = self.model(ids, mask).float().cpu().double()
            return torch.nn.functional.normalize(pooled, dim=1).numpy()


class SentencePooling(torch.nn.Module):
    """All modules of a sentence-transformers model, called on token ids."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (rows, width) vectors."""
        return self.model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]


class MeanPooling(torch.nn.Module):
    """Mean of a transformer's last hidden states over the tokens of a text."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (rows, width) vectors."""
        hidden = self.trunk(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        weights = mask.to(hidden.dtype)[:, :, None]
        return (hidden * weights).sum(1) / weights.sum(1)


class PositionWeightedPooling(torch.nn.Module):
    """Mean of a causal LM's last hidden states, position i of a text weighing i."""

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return (rows, width) vectors."""
        # Causal attention never sees the padding behind a text.
        hidden = self.trunk(input_ids=ids, use_cache=False).last_hidden_state.float()
        weights = (mask.cumsum(1) * mask).to(hidden.dtype)[:, :, None]
        return (hidden * weights).sum(1) / weights.sum(1)


def load_encoder(
    spec: ModelSpec,
    *,
    dtype: str = "float32",
    max_length: int | None = None,
    batch_tokens: int | None = None,
    context: Context | None = None,
) -> TransformerEncoder:
    """Load an encoder. Raises ModelError where the folder holds nothing that encodes."""
    context = context or Context()
    if spec.is_mean_encoder or (spec.is_causal_lm and not spec.modules):
        from transformers import AutoModel

        trunk = load_model(
            AutoModel, spec, dtype=dtype, context=context, purpose="an encoder", unread=_POOLERS
        )
        pooling = MeanPooling if spec.is_mean_encoder else PositionWeightedPooling
        model: torch.nn.Module = pooling(trunk)
        tokenizer, prompt = load_tokenizer(spec), ""
    else:
        library = _load_sentence_transformer(spec, dtype, context)
        model, tokenizer = SentencePooling(library), library.tokenizer
        prompt = library.prompts.get(library.default_prompt_name or "", "") or ""
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise ModelError(
                f"encoder '{spec.name}' has a tokenizer that gives no offsets; add tokenizer.json"
            )
    return TransformerEncoder(
        model,
        tokenizer,
        device=torch_device(context),
        max_length=max_length,
        batch_tokens=batch_tokens,
        prompt=prompt,
    )


def _load_sentence_transformer(spec: ModelSpec, dtype: str, context: Context) -> Any:
    require_safetensors(spec)
    _refuse_foreign_modules(spec)
    with quiet():
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(
                str(spec.folder),
                device=str(torch_device(context)),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": torch_dtype(dtype), "use_safetensors": True},
            )
        except Exception as error:
            raise ModelError(
                f"model '{spec.name}' cannot be loaded as a sentence encoder "
                f"({type(error).__name__}); give a sentence-transformers folder, an encoder or a "
                "causal LM"
            ) from error
    return model.eval().requires_grad_(False).to(torch_dtype(dtype))


def _refuse_foreign_modules(spec: ModelSpec) -> None:
    """Raise ModelError where modules.json names code outside the library."""
    for item in spec.modules:
        if not str(item.get("type", "")).startswith("sentence_transformers."):
            raise ModelError(
                f"model '{spec.name}' asks for the code '{item.get('type')}', which is not "
                "run; give an encoder made of sentence-transformers' own modules"
            )


def _special_ahead(encoder: TextEncoder) -> int:
    """Return how many special tokens the tokenizer puts in front of a text."""
    return encoder.spans([Rendered("", "a", "")], special=True)[0].start
