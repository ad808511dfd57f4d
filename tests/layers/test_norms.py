"""Layer normalisation: formula and fused layer against torch.nn.LayerNorm."""

import pytest
import torch

from llmlib.layers import LayerNorm, layer_norm


@pytest.fixture
def pair():
    """Our layer and PyTorch's, with the same random weights in float64."""
    theirs = torch.nn.LayerNorm(7, eps=1e-3, dtype=torch.float64)
    torch.nn.init.normal_(theirs.weight)
    torch.nn.init.normal_(theirs.bias)
    ours = LayerNorm(7, eps=1e-3).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 4, 7)])
def test_layer_and_formula_agree_with_pytorch_forward_and_backward(pair, shape):
    ours, theirs = pair
    x = (3 + 5 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    expected, probe = theirs(x), torch.randn(shape, dtype=torch.float64)
    grads = torch.autograd.grad(expected, [x, *theirs.parameters()], probe)
    for found in (ours(x), layer_norm(x, ours.weight, ours.bias, ours.eps)):
        torch.testing.assert_close(found, expected)
        for mine, other in zip(
            torch.autograd.grad(found, [x, *ours.parameters()], probe), grads, strict=True
        ):
            torch.testing.assert_close(mine, other)


def test_a_constant_vector_becomes_the_bias(pair):
    ours, _ = pair
    torch.testing.assert_close(ours(torch.full((7,), 4.0).double()), ours.bias)
