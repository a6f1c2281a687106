"""Lengths of prompt and response in tokens (arXiv 2307.06290)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructmine.contracts import Column, Context, Scored
from instructmine.errors import ModelError
from instructmine.modelref import ModelRef
from instructmine.pool import Turn
from instructmine.turns import TurnIndicator, TurnScorer


@dataclass(frozen=True, kw_only=True)
class Length(TurnIndicator):
    """Tokens of the user message and of the response; no special tokens, nothing is cut.

    `log_output_length` is ln(1 + response tokens): a rule adds up means, and the first ten tokens
    of a response change more than the step from 500 to 510.
    tokenizer: the model whose tokenizer counts; only its tokenizer is read.
    Not covered: the history of a conversation counts in no turn's input length.
    """

    version = 1
    columns = (
        Column("input_length", "unknown", "tokens"),
        Column("output_length", "unknown", "tokens"),
        Column("log_output_length", "unknown", "log tokens"),
    )

    tokenizer: ModelRef = ModelRef("starter:lm")

    def identity(self) -> dict[str, Any]:
        """Type, version, and the digest of the tokenizer: weights do not count tokens."""
        return {
            "type": type(self).__name__,
            "version": self.version,
            "turns": self.turns,
            "tokenizer": self.tokenizer.identity(only="tokenizer.json"),
        }

    def open_turns(self, context: Context, columns: Sequence[str]) -> TurnScorer:
        """Load the tokenizer. Raises ModelError where there is none."""
        return _LengthScorer(_load(self.tokenizer), columns)


class _LengthScorer(TurnScorer):
    empty_response_is_scorable = True  # an empty response has 0 tokens

    def __init__(self, tokenizer: Any, columns: Sequence[str]) -> None:
        self.columns = columns
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def score_turns(self, turns: Sequence[Turn]) -> Scored:
        values = {}
        if "input_length" in self.columns:
            values["input_length"] = self._count([turn.prompt for turn in turns])
        if {"output_length", "log_output_length"} & set(self.columns):
            counted = self._count([turn.response for turn in turns])
            values |= {"output_length": counted, "log_output_length": np.log1p(counted)}
        return Scored({name: values[name] for name in self.columns})

    def _count(self, texts: list[str]) -> np.ndarray:
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return np.array([len(encoding.ids) for encoding in encodings], dtype=np.float64)


def _load(model: ModelRef) -> Any:
    from tokenizers import Tokenizer

    path = model.folder(weights=False) / "tokenizer.json"
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:
            raise ModelError(
                f"the tokenizer.json of '{model}' cannot be read; get the folder again"
            ) from error
    from instructmine.models.spec import ModelSpec
    from instructmine.models.tokens import load_tokenizer

    return load_tokenizer(ModelSpec.read(model)).backend_tokenizer
