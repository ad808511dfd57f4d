"""The attention layer against torch.nn.MultiheadAttention with the same weights."""

import pytest
import torch

from llmlib.attention import masks
from llmlib.layers import CausalSelfAttention, MultiHeadAttention

WIDTH, HEADS = 12, 3


def pytorch_layer(ours):
    """PyTorch's layer with the weights of ours."""
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, dtype=torch.float64)
    weights = (ours.qkv.weight, ours.qkv.bias, ours.out.weight, ours.out.bias)
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    theirs.load_state_dict(dict(zip(names, weights, strict=True)))
    return theirs


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize("mask", [None, masks.causal(), masks.prefix(2)], ids=str)
@pytest.mark.parametrize("reads_memory", [False, True])
def test_agrees_with_pytorch_in_outputs_weights_and_gradients(backend, mask, reads_memory):
    ours = MultiHeadAttention(WIDTH, HEADS, backend=backend).double()
    theirs = pytorch_layer(ours)
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(2, 7, WIDTH, dtype=torch.float64, requires_grad=True) if reads_memory else x
    hidden = None if mask is None else ~mask.dense(5, memory.shape[1])
    expected, weights = theirs(x, memory, memory, attn_mask=hidden, average_attn_weights=False)
    given_memory = memory if reads_memory else None
    found = ours(x, given_memory, mask=mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(ours.weights(x, given_memory, mask=mask), weights)
    inputs = (x, memory) if reads_memory else (x,)
    for mine, other in zip(
        torch.autograd.grad(found.square().sum(), inputs),
        torch.autograd.grad(expected.square().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


def test_causal_attention_is_the_same_layer_with_a_causal_mask():
    ours = CausalSelfAttention(WIDTH, HEADS).double()
    x = torch.randn(2, 5, WIDTH, dtype=torch.float64)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(ours(x), pytorch_layer(ours)(x, x, x, attn_mask=hidden)[0])


def test_the_mask_of_a_call_takes_the_place_of_the_layers_own():
    layer, x = CausalSelfAttention(WIDTH, HEADS), torch.randn(1, 4, WIDTH)
    free = MultiHeadAttention(WIDTH, HEADS)
    free.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, mask=masks.full()), free(x))


def test_a_head_with_factor_zero_is_silent():
    layer, x = MultiHeadAttention(WIDTH, HEADS, scale_heads=True), torch.randn(1, 4, WIDTH)
    plain = MultiHeadAttention(WIDTH, HEADS)
    plain.load_state_dict({k: v for k, v in layer.state_dict().items() if k != "head_scale"})
    torch.testing.assert_close(layer(x), plain(x))
    with torch.no_grad():
        layer.head_scale[1] = 0
        plain.out.weight[:, 4:8] = 0  # the columns that read head 1
    torch.testing.assert_close(layer(x), plain(x))


@pytest.mark.parametrize("heads", [0, 5])
def test_refuses_heads_that_do_not_divide_the_width(heads):
    with pytest.raises(ValueError, match=f"multiple of the number of heads, but width = 12, heads = {heads}"):
        MultiHeadAttention(WIDTH, heads)
