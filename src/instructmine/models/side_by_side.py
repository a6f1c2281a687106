"""Computes the micro-batches of a small model side by side on a CPU, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from instructmine.models.batching import workers_for


class Crew:
    """The threads that a training's micro-batches are computed in.

    A small model's operations are too short to divide among threads (see `batching`). Gradients
    are added in the order of the micro-batches, so that the result does not depend on who was
    first. A model that draws random numbers gets one worker: threads would draw in any order.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        draws = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
        self.workers = 1 if draws else workers_for(model, device)
        self._threads = torch.get_num_threads()
        self._pool: ThreadPoolExecutor | None = None
        if self.workers > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(
                self.workers, initializer=torch.set_num_threads, initargs=(1,)
            )

    def backward(
        self,
        shares: Sequence[Callable[[], torch.Tensor]],
        parameters: Sequence[torch.nn.Parameter],
    ) -> float:
        """Add the gradients of all shares of the loss; returns their sum."""
        total = 0.0
        if self._pool is None or len(shares) == 1:
            for share in shares:
                loss = share()
                loss.backward()
                total += float(loss.detach())
            return total

        def gradients(share: Callable[[], torch.Tensor]) -> tuple[float, Any]:
            loss = share()
            return float(loss.detach()), torch.autograd.grad(loss, parameters, allow_unused=True)

        for start in range(0, len(shares), self.workers):
            for loss, found in self._pool.map(gradients, shares[start : start + self.workers]):
                total += loss
                for parameter, gradient in zip(parameters, found, strict=True):
                    if gradient is not None:
                        _add(parameter, gradient)
        return total

    def close(self) -> None:
        """Give the threads back."""
        if self._pool is not None:
            self._pool.shutdown()
            torch.set_num_threads(self._threads)


def _add(parameter: torch.nn.Parameter, gradient: torch.Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
