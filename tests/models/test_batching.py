"""Batches: padding, budgets, and memory that runs out."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from instructmine.models.batching import BatchRunner, out_of_memory, plan, right_pad

CPU = torch.device("cpu")


def realistic_lengths(count=2000):
    """Lengths as instruction pools have them: log-normal, a long tail."""
    return np.random.default_rng(0).lognormal(4.8, 0.8, count).astype(int).clip(3, 2048)


@given(st.lists(st.integers(0, 500), max_size=80), st.integers(1, 600))
def test_plan_is_a_partition_within_the_budget(lengths, budget):
    batches = plan(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        widest = max(1, *(lengths[index] for index in batch))
        assert len(batch) == 1 or widest * len(batch) <= budget


@pytest.mark.parametrize("budget", [2048, 32_768])
def test_padding_stays_within_five_percent(budget):
    lengths = realistic_lengths()
    padded = sum(len(b) * max(lengths[i] for i in b) for b in plan(lengths, budget))
    assert 1 - lengths.sum() / padded <= 0.05


def test_results_come_back_in_order():
    lengths = list(realistic_lengths(50))
    found, reasons = BatchRunner(CPU, 256).run(lengths, lambda b: np.array([[i] for i in b]))
    assert found[:, 0].tolist() == list(range(50)) and not reasons


def test_memory_running_out_halves_the_batches():
    sizes = []

    def forward(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return np.ones((len(batch), 1))

    runner = BatchRunner(CPU, 1000)
    found, reasons = runner.run([10] * 40, forward)
    assert np.isfinite(found).all() and not reasons
    assert sizes[0] == 40 and sizes[-1] <= 3
    assert runner.budget < 100  # and it does not try the large ones again
    before = len(sizes)
    runner.run([10] * 40, forward)
    assert max(sizes[before:]) <= 3


def test_batches_side_by_side_give_the_same_and_halve_too():
    lengths = list(realistic_lengths(200))

    def forward(batch):
        assert torch.get_num_threads() == 1
        if len(batch) > 4:
            raise MemoryError
        return np.array([[lengths[index]] for index in batch])

    threads = torch.get_num_threads()
    found, reasons = BatchRunner(CPU, 4096, workers=3).run(lengths, forward)
    assert found[:, 0].tolist() == lengths and not reasons
    assert torch.get_num_threads() == threads


def test_one_text_that_never_fits_is_null_and_the_rest_goes_on():
    lengths = [10, 5000, 20]

    def forward(batch):
        if any(lengths[index] > 1000 for index in batch):
            raise MemoryError
        return np.ones((len(batch), 1))

    found, reasons = BatchRunner(CPU, 10_000).run(lengths, forward)
    assert reasons == {1: "does not fit in memory (5,000 tokens)"}
    assert np.isfinite(found[[0, 2]]).all() and np.isnan(found[1])


def test_other_errors_are_not_swallowed():
    def forward(batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        BatchRunner(CPU).run([1], forward)


def test_the_allocators_own_error_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(caught.value)
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_right_pad():
    ids, mask = right_pad([[1, 2, 3], [4]], pad=9, device=CPU)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]] and mask.tolist() == [[1, 1, 1], [1, 0, 0]]
