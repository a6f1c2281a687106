"""How a model's answers are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from instructmine.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen: the likeliest at temperature 0, else drawn with a seed.

    top_p: draw from the likeliest tokens that together have this probability.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no sampling. Raises UsageError."""
        if self.max_new_tokens < 1:
            raise UsageError("--max-new-tokens must be 1 or more")
        if self.temperature < 0 or not 0 < self.top_p <= 1:
            raise UsageError("--temperature must be 0 or more, --top-p above 0 and at most 1")

    def identity(self) -> dict[str, Any]:
        """What the answers depend on; a seed counts only where something is drawn."""
        drawn = {"top_p": self.top_p, "seed": self.seed} if self.temperature else {}
        return {"max_new_tokens": self.max_new_tokens, "temperature": self.temperature, **drawn}
