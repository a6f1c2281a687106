"""Batches by length under a token budget, and what to do when memory runs out.

Sorting by length keeps padding to a few percent; a budget of tokens keeps the work of every batch
alike. Batches change speed only: a result never depends on its neighbours.

On a CPU small models run several batches side by side, each on one thread: their operations are
too short to be worth dividing, and divided ones stall wherever another process takes a core.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

CPU_BATCH_TOKENS = 2048  # larger ones fall out of the caches and are slower
GPU_BATCH_TOKENS = 32_768
SMALL_MODEL = 100_000_000  # parameters; a larger model's operations fill all threads by themselves
MOST_WORKERS = 8
_WASTE = 0.04  # a batch is closed before its padding passes this share
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")

Forward = Callable[[list[int]], npt.NDArray[np.float64]]


def workers_for(model: torch.nn.Module, device: torch.device) -> int:
    """Return how many batches to run side by side: as many as threads for a small CPU model."""
    if device.type != "cpu" or sum(p.numel() for p in model.parameters()) > SMALL_MODEL:
        return 1
    return min(torch.get_num_threads(), MOST_WORKERS)


def default_budget(device: torch.device) -> int:
    """Return the tokens per batch for a device."""
    return CPU_BATCH_TOKENS if device.type == "cpu" else GPU_BATCH_TOKENS


def plan(
    lengths: Sequence[int], budget: int, indices: Sequence[int] | None = None
) -> list[list[int]]:
    """Split positions into batches of like length, longest first.

    A batch's padded size stays within `budget` tokens (a longer text is a batch by itself), and
    its padding within 4 %, once it is a sixteenth full.
    """
    chosen = range(len(lengths)) if indices is None else indices
    order = sorted(chosen, key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    widest = real = 0
    for index in order:
        length = max(1, lengths[index])
        count = len(batches[-1]) + 1 if batches else 0
        padded = count * widest
        wasteful = padded - real - length > _WASTE * padded and real >= budget / 16
        if not batches or padded > budget or wasteful:
            batches.append([])
            widest, real = length, 0
        batches[-1].append(index)
        real += length
    return batches


class BatchRunner:
    """Runs a forward pass over texts of known lengths, batch by batch.

    workers: batches side by side, in threads; the forward pass must then keep no state between
    calls, or keep it per thread.
    budget: tokens per batch; halved for good each time memory runs out. `real_tokens` and
    `padded_tokens` add up what went through.
    """

    def __init__(
        self, device: torch.device, batch_tokens: int | None = None, workers: int = 1
    ) -> None:
        self.device = device
        self.workers = workers
        self.budget = batch_tokens or default_budget(device)
        self.real_tokens = 0
        self.padded_tokens = 0

    @property
    def padding_share(self) -> float:
        """Share of padding in all tokens processed so far."""
        return 1 - self.real_tokens / self.padded_tokens if self.padded_tokens else 0.0

    def run(
        self, lengths: Sequence[int], forward: Forward, width: int = 1
    ) -> tuple[npt.NDArray[np.float64], dict[int, str]]:
        """Return (n, width) results of `forward`, and why rows of it are NaN.

        forward: positions → (len(positions), width). A text that does not fit in memory even
        alone gets NaN and a reason, and so does one for which the model computes no number.
        """
        results = np.full((len(lengths), width), np.nan)
        reasons: dict[int, str] = {}
        pending = plan(lengths, self.budget)
        while pending:
            batches, pending = pending, []
            for number, found in enumerate(self._results(forward, batches)):
                batch = batches[number]
                padded = len(batch) * max(lengths[index] for index in batch)
                if found is not None:
                    results[batch] = found
                    self.real_tokens += sum(lengths[index] for index in batch)
                    self.padded_tokens += padded
                elif len(batch) == 1:
                    reasons[batch[0]] = f"does not fit in memory ({padded:,} tokens)"
                else:
                    self.budget = max(1, min(padded, self.budget) // 2)
                    rest = [index for later in batches[number:] for index in later]
                    pending = plan(lengths, self.budget, rest)
                    break
        for index in np.flatnonzero(~np.isfinite(results).all(axis=1)):
            results[index] = np.nan
            reasons.setdefault(int(index), "the model's output is not a number")
        return results, reasons

    def _results(
        self, forward: Forward, batches: list[list[int]]
    ) -> Iterator[npt.NDArray[np.float64] | None]:
        """Yield the result of every batch, in order, None where memory ran out."""
        workers = min(self.workers, len(batches))
        if workers == 1:
            for batch in batches:
                yield self._attempt(forward, batch)
            return
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as crew:
            try:
                yield from crew.map(lambda batch: self._attempt(forward, batch), batches)
            finally:
                crew.shutdown(cancel_futures=True)
                torch.set_num_threads(threads)  # what threads made later begin with

    def _attempt(self, forward: Forward, batch: list[int]) -> npt.NDArray[np.float64] | None:
        """Return the results of a batch, or None where memory ran out."""
        try:
            with torch.inference_mode():
                return forward(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
        gc.collect()  # the failed pass's tensors, now that its traceback is gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _MEMORY_WORDS)


def right_pad(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, (rows, longest) each, padded on the right.

    Padding behind a text leaves its positions as they are alone, also in models with learned
    absolute positions.
    """
    longest = max(len(row) for row in rows)
    ids = torch.full((len(rows), longest), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[position, : len(row)] = 1
    return ids.to(device), mask.to(device)
