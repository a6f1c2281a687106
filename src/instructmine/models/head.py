"""Applies a causal LM's output head to the wanted positions alone.

Logits over a vocabulary are the largest tensor of a forward pass; most of them, those of prompt
and padding, nobody reads.
"""

from __future__ import annotations

import threading
from typing import Any

import torch

from instructmine.errors import ModelError


class WantedLogits:
    """Computes a model's logits at chosen positions; safe to call from several threads."""

    def __init__(self, model: Any, name: str) -> None:
        self.model = model
        self.name = name
        self._call = threading.local()  # the positions wanted of the batch in this thread
        head = model.get_output_embeddings()
        if head is None:
            raise ModelError(f"model '{name}' has no output head; give a causal LM")
        head.register_forward_pre_hook(self._only_wanted)

    def __call__(
        self, ids: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
    ) -> torch.Tensor:
        """Return logits, (len(rows), vocabulary), at `ids[rows, columns]`.

        ids: (batch, longest), padded on the right. Causal attention never looks ahead, so padding
        behind a text is unseen without a mask, and without one the faster kernels run.
        """
        self._call.wanted = (rows, columns)
        logits = self.model(input_ids=ids, use_cache=False).logits
        if logits.shape[:2] != (1, len(rows)):
            raise ModelError(
                f"model '{self.name}' does not compute its logits from its output head alone, "
                "so it cannot be read by this version"
            )
        found: torch.Tensor = logits[0]
        return found

    def _only_wanted(self, _head: Any, inputs: tuple[torch.Tensor, ...]) -> Any:
        """Hand the output head the wanted positions alone, as one row.

        Done here, in front of the head, so that what a model does behind it (scaling,
        soft-capping) stays as the model has it.
        """
        wanted = getattr(self._call, "wanted", None)
        if wanted is None:
            return inputs
        rows, columns = wanted
        self._call.wanted = None
        hidden = inputs[0]
        return (hidden[rows.to(hidden.device), columns.to(hidden.device)][None], *inputs[1:])
