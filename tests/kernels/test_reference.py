"""The kernels' PyTorch forms, on the CPU, beside PyTorch's own functions and complex numbers."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib import kernels


@pytest.fixture
def randn():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)


def test_rms_norm(randn):
    x, residual, weight = randn(3, 5, 8), randn(3, 5, 8), randn(8)
    assert torch.allclose(kernels.rms_norm_reference(x, weight, 0.1), F.rms_norm(x, (8,), weight, 0.1))
    normed, summed = kernels.rms_norm_reference(x, weight, 0.1, residual)
    assert torch.equal(summed, x + residual)
    assert torch.allclose(normed, F.rms_norm(x + residual, (8,), weight, 0.1))


def test_rms_norm_rounds_once(randn):
    x, weight = randn(50, 64).bfloat16(), randn(64).bfloat16()
    exact = F.rms_norm(x.double(), (64,), weight.double(), 1e-6)
    found = kernels.rms_norm_reference(x, weight)
    assert found.dtype == torch.bfloat16
    # Half a unit in the last place.
    assert ((found.double() - exact).abs() <= exact.abs() * 2**-8 * 1.01).all()


def test_swiglu(randn):
    gate, up = randn(4, 6), randn(4, 6)
    assert torch.allclose(kernels.swiglu_reference(gate, up), gate / (1 + torch.exp(-gate)) * up)


@pytest.mark.parametrize("batch", [(), (2,)])
def test_rope_is_a_multiplication_of_complex_numbers(randn, batch):
    q, k, theta = randn(2, 6, 5, 8), randn(2, 3, 5, 8), randn(*batch, 5, 4)
    found = kernels.rope_reference(q, k, theta.cos(), theta.sin(), "interleaved")
    unit = torch.polar(torch.ones_like(theta), theta).reshape(-1, 1, 5, 4)
    for x, y in zip((q, k), found, strict=True):
        pairs = torch.view_as_complex(x.unflatten(-1, (4, 2)))
        assert torch.allclose(y, torch.view_as_real(pairs * unit).flatten(-2))


def test_the_layouts_of_rope_differ_in_the_order_of_the_numbers_only(randn):
    q, k, theta = randn(2, 6, 5, 8), randn(2, 3, 5, 8), randn(5, 4)
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # interleaved to half
    interleaved = kernels.rope_reference(q, k, theta.cos(), theta.sin(), "interleaved")
    half = kernels.rope_reference(q[..., order], k[..., order], theta.cos(), theta.sin())
    assert all(torch.allclose(x[..., order], y) for x, y in zip(interleaved, half, strict=True))


def test_cross_entropy_is_in_float32_or_better(randn):
    logits, targets = randn(2, 3, 9), torch.tensor([[1, -100, 8], [0, 3, 3]])
    exact = -logits.log_softmax(-1).flatten(0, 1)[[0, 2, 3, 4, 5], [1, 8, 0, 3, 3]].mean()
    assert torch.allclose(kernels.cross_entropy_reference(logits, targets), exact)
    assert kernels.cross_entropy_reference(logits.half(), targets).dtype == torch.float32
