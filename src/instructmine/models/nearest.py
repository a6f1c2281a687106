"""The nearest of many vectors on a GPU, every pair compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from instructmine.contracts import Context
from instructmine.models.loading import torch_device

_PAIRS = 1 << 28  # compared at once: 1 GiB


class DeviceIndex:
    """Finds nearest vectors in float32, as faiss's IndexFlatL2 does on a CPU."""

    def __init__(self, vectors: npt.NDArray[np.float32], device: torch.device) -> None:
        """Put the vectors, (n, d), on the device."""
        self._vectors = torch.as_tensor(vectors, device=device)
        self._norms = self._vectors.square().sum(dim=1)

    def search(
        self, queries: npt.NDArray[np.float32], count: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Return (m, count) squared distances and positions, the nearest first.

        Squared distances are ‖x‖² + ‖y‖² − 2xy, with the rounding of float32: small ones are noise.
        """
        step = max(1, _PAIRS // len(self._vectors))
        found = [self._block(queries[i : i + step], count) for i in range(0, len(queries), step)]
        return np.concatenate([d for d, _ in found]), np.concatenate([at for _, at in found])

    def _block(self, queries: npt.NDArray[np.float32], count: int) -> tuple[Any, Any]:
        block = torch.as_tensor(queries, device=self._vectors.device)
        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # not TF32, whose noise is a thousand times
        try:
            distances = torch.addmm(self._norms, block, self._vectors.T, alpha=-2)
        finally:
            torch.set_float32_matmul_precision(precision)
        distances += block.square().sum(dim=1, keepdim=True)
        nearest = distances.topk(count, dim=1, largest=False, sorted=True)
        return nearest.values.cpu().numpy(), nearest.indices.cpu().numpy()


def on_gpu(vectors: npt.NDArray[np.float32], context: Context) -> DeviceIndex | None:
    """Return an index on the CUDA device that the context asks for; None where that is no GPU."""
    device = torch_device(context)
    return DeviceIndex(vectors, device) if device.type == "cuda" else None
