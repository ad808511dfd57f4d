"""Memory is counted as a calculation by hand counts it."""

import gc

import pytest
import torch

from llmlib.attention import attention
from llmlib.attention.memory import PeakMemory


def test_what_is_there_at_once():
    with PeakMemory() as memory:
        a = torch.zeros(1000)
        b = a + 1
        assert (memory.now, memory.peak) == (8000, 8000)
        del b
        assert (memory.now, memory.peak) == (4000, 8000)
        c = torch.ones(3000, dtype=torch.float64)
        del c
    assert (memory.now, memory.peak) == (4000, 28_000)


def test_views_and_changes_in_place_take_nothing():
    outside = torch.ones(10, 10)
    with PeakMemory() as memory:
        view = outside.T[2:]
        outside.add_(1)
        view.mul_(2)
        assert memory.now == 0
        inside = outside.clone()
        part = inside[0]
        del inside
        assert memory.now == 400  # the part keeps the whole
        del part
    assert (memory.now, memory.peak) == (0, 400)


def test_tensors_that_end_after_the_count_do_no_harm():
    with PeakMemory() as memory:
        x = torch.zeros(100)
    del x
    gc.collect()
    assert (memory.now, memory.peak) == (0, 400)


@pytest.mark.parametrize("n", [64, 256])
def test_textbook_attention_has_two_matrices_of_all_pairs(n):
    q, k, v = torch.randn(3, 1, 1, n, 4)
    with PeakMemory() as memory:
        attention(q, k, v, backend="reference")
    assert memory.peak == 2 * 4 * n * n


def test_tiled_attention_grows_with_the_length_and_not_its_square():
    def peak(n: int) -> int:
        q, k, v = torch.randn(3, 1, 1, n, 8)
        with PeakMemory() as memory:
            attention(q, k, v, backend="tiled")
        return memory.peak

    small, middle, large = (peak(n) for n in (512, 1024, 2048))
    # The output and log Σ exp of each query: (8 + 1) · 4 bytes. All else is of a tile, and stays as it is.
    assert middle - small == 512 * 36
    assert large - middle == 1024 * 36
