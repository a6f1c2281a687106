"""The nouns of training and evaluation: eval sets, checkpoints, and losses on eval sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from instructmine.errors import UsageError
from instructmine.identity import digest
from instructmine.modelref import ModelRef
from instructmine.pool import Example, Message, Turn


@dataclass(frozen=True)
class EvalItem:
    """One prompt, with everything said before it, and the references that answer it."""

    history: tuple[Message, ...]
    references: tuple[str, ...]
    place: str = ""  # FILE:ROW of the first reference; no part of its identity

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The prompt with each reference."""
        return tuple(Turn(self.history, reference) for reference in self.references)


@dataclass(frozen=True)
class EvalSet:
    """A named set of prompts with references, to measure a model's loss on."""

    name: str
    items: tuple[EvalItem, ...]
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.items)

    @cached_property
    def digest(self) -> str:
        """Digest of prompts and references in order; the name and the files do not enter."""
        return digest(
            [
                [[[m.role, m.content] for m in item.history], list(item.references)]
                for item in self.items
            ]
        )

    @classmethod
    def of(cls, name: str, examples: Iterable[Example], files: Sequence[str] = ()) -> EvalSet:
        """Make a set from examples: every assistant message is a reference to what precedes it.

        Messages that answer the same history are several references of one prompt.
        Raises UsageError when no example has an answer.
        """
        found: dict[tuple[Message, ...], list[str]] = {}
        places: dict[tuple[Message, ...], str] = {}
        for example in examples:
            for turn in example.turns:
                if turn.response.strip():
                    found.setdefault(turn.history, []).append(turn.response)
                    places.setdefault(turn.history, f"{example.source}:{example.row}")
        if not found:
            raise UsageError(f"eval set '{name}' holds no prompt with a reference; give another")
        items = (EvalItem(key, tuple(texts), places[key]) for key, texts in found.items())
        return cls(name, tuple(items), tuple(files))


@dataclass(frozen=True)
class SetLoss:
    """Loss of one model on one eval set, in nats per token; lower is better.

    losses: per prompt, the mean over its references of the mean cross-entropy per token.
    tokens: per prompt, reference tokens read. truncated: prompts of which something was cut.
    """

    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    truncated: int = 0

    @property
    def loss(self) -> float:
        """Mean over prompts: every prompt counts alike, however long its references are."""
        return float(np.mean(self.losses))

    @property
    def se(self) -> float:
        """Standard error of the mean over prompts; NaN for a single prompt."""
        if len(self.losses) < 2:
            return float("nan")
        return float(np.std(self.losses, ddof=1) / np.sqrt(len(self.losses)))

    def to_json(self) -> dict[str, Any]:
        """Return JSON-like values."""
        return {
            "losses": list(self.losses),
            "tokens": list(self.tokens),
            "truncated": self.truncated,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SetLoss:
        """Read what `to_json` gave."""
        return cls(tuple(data["losses"]), tuple(data["tokens"]), int(data["truncated"]))


@dataclass(frozen=True)
class Checkpoint:
    """A fine-tuned model: an ordinary Hugging Face folder, and what making it took.

    facts: steps, epochs, tokens (trained on, repeats counted), response_tokens, train_loss,
    truncated, seconds, precision; or `error`, with no folder, where training diverged.
    """

    folder: Path | None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """Why there is no model."""
        return self.facts.get("error")

    @property
    def model(self) -> ModelRef:
        """The folder, as models are named. Raises UsageError where training diverged."""
        if self.folder is None:
            raise UsageError(f"there is no model to use: {self.error}")
        return ModelRef(str(self.folder))
