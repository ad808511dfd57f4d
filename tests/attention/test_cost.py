"""The costs are those that PyTorch counts and that the tiled walk moves, and published figures by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmlib.attention import attention, cost
from llmlib.attention.tiled import Traffic, tiled_attention


def products(work) -> int:
    """FLOPs in matrix products, as PyTorch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize(("n", "width"), [(96, 16), (130, 64)])
def test_arithmetic_is_what_pytorch_counts(n, width):
    q, k, v = torch.randn(3, 1, 1, n, width)
    of_softmax = cost.softmax(n, 4).flops
    assert of_softmax == 5 * n * n
    for backend in ("reference", "tiled"):
        assert cost.textbook(n, width, 4).flops - of_softmax == products(
            lambda backend=backend: attention(q, k, v, backend=backend)
        )
    assert cost.flash(n, width, 4, 32).flops == cost.textbook(n, width, 4).flops
    assert cost.matrix_product(n, 4).flops == products(lambda: torch.randn(n, n) @ torch.randn(n, n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("n", "rows"), [(128, 32), (100, 48), (64, 64), (40, 64)])
def test_flash_moves_what_the_tiled_walk_moves(dtype, n, rows):
    q, k, v = torch.randn(3, 1, 1, n, 8, dtype=dtype)
    traffic = Traffic()
    tiled_attention(q, k, v, tile=(rows, 16), traffic=traffic)
    assert cost.flash(n, 8, dtype.itemsize, rows).bytes == traffic.read + traffic.written


def test_textbook_attention_by_hand():
    """1,024 tokens, width 64, two bytes: 4 · 2²⁰ scores and 4 · 2¹⁶ other numbers."""
    work = cost.textbook(1024, 64, 2)
    assert work.bytes == 8 * 2**20 + 8 * 2**16 == 8_912_896
    assert work.flops == 261 * 2**20
    assert work.intensity == pytest.approx(30.7, abs=0.01)
    assert cost.softmax(1024, 2).intensity == 1.25
    assert cost.matrix_product(1024, 2).intensity == pytest.approx(2048 / 6)


def test_a_machine_waits_for_the_slower_side():
    machine = cost.Machine("slow", flops=100.0, bandwidth=10.0, itemsize=4)
    assert machine.ridge == 10
    assert [machine.attainable(x) for x in (1, 10, 50)] == [10, 100, 100]
    assert machine.seconds(cost.Work(flops=200, bytes=10)) == 2
    assert machine.seconds(cost.Work(flops=200, bytes=50)) == 5
    assert cost.H100.ridge == pytest.approx(295, abs=1)


def test_this_machine_is_measured():
    machine = cost.measured()
    assert machine.itemsize == 4
    # From a very slow computer to a very fast one.
    assert 1e8 < machine.flops < 1e15
    assert 1e7 < machine.bandwidth < 1e13
