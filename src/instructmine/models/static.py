"""Static sentence encoders: the mean of one stored vector per token. Needs no torch.

Reads the layout of sentence-transformers' `StaticEmbedding` and of model2vec, and gives what
that library gives for it; a fraction of a second starts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from instructmine.errors import ModelError
from instructmine.models.spec import ModelSpec


class StaticEncoder:
    """Mean token vectors of unit length."""

    def __init__(self, spec: ModelSpec, max_length: int | None = None) -> None:
        from tokenizers import Tokenizer

        self.max_length = max_length
        subfolder = spec.folder / (spec.modules[0].get("path", "") if spec.modules else "")
        try:
            self._tokenizer = Tokenizer.from_file(str(subfolder / "tokenizer.json"))
            self.vectors = _token_vectors(subfolder / "model.safetensors")
        except Exception as error:
            raise ModelError(
                f"model '{spec.name}' cannot be loaded as a static encoder "
                f"({type(error).__name__}); it needs tokenizer.json and model.safetensors"
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def width(self) -> int:
        """Numbers per vector."""
        return int(self.vectors.shape[1])

    def encode(
        self, texts: Sequence[tuple[str, str]]
    ) -> tuple[npt.NDArray[np.float32], dict[int, str], frozenset[int]]:
        """Return (n, width) vectors of (prompt, response) texts, reasons and what was cut."""
        encodings = self._tokenizer.encode_batch(
            [prompt + response for prompt, response in texts], add_special_tokens=False
        )
        vectors = np.full((len(texts), self.width), np.nan, dtype=np.float32)
        reasons: dict[int, str] = {}
        cut = set()
        for index, (encoding, text) in enumerate(zip(encodings, texts, strict=True)):
            ids = encoding.ids
            if self.max_length is not None and len(ids) > self.max_length:
                ids = _cut(encoding, len(text[0]), self.max_length)
                cut.add(index)
            mean = self.vectors[ids].mean(axis=0) if ids else np.zeros(self.width)
            length = float(np.linalg.norm(mean))
            if length > 0:
                vectors[index] = mean / length
            else:
                reasons[index] = "no token of it has a vector"
        return vectors, reasons, frozenset(cut)


def _cut(encoding: Any, boundary: int, limit: int) -> list[int]:
    start = next((i for i, (_, stop) in enumerate(encoding.offsets) if stop > boundary), 0)
    drop = min(start, len(encoding.ids) - limit)
    return list(encoding.ids[drop : drop + limit])


def _token_vectors(path: Any) -> npt.NDArray[np.float32]:
    """Read one vector per token id, folding model2vec's mapping and weights in."""
    from safetensors.numpy import load_file

    weights = load_file(path)
    if "embedding.weight" in weights:
        return weights["embedding.weight"].astype(np.float32)
    vectors = weights["embeddings"].astype(np.float32)
    if "mapping" in weights:
        vectors = vectors[weights["mapping"].astype(np.int64)]
    if "weights" in weights:
        vectors = vectors * weights["weights"].astype(np.float32)[:, None]
    return vectors
