"""The entry point: every backend agrees with PyTorch, forward and backward; bad input is refused."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import Mask, attention, attention_weights, masks

BACKENDS = ["reference", "sdpa", "tiled", "block_sparse", "auto"]
MASKS = {
    "none": None,
    "full": masks.full(),
    "causal": masks.causal(),
    "prefix": masks.prefix(3),
    "blocks": masks.block_local(4),
    "padding": Mask(lambda b, h, q_idx, kv_idx: kv_idx <= b),
    "heads": Mask(lambda b, h, q_idx, kv_idx: (kv_idx == 0) | (q_idx - kv_idx == h)),
}


def random_qkv(b, h, g, t, s, d, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (b, h, t, d), (b, g, s, d), (b, g, s, d)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def softmax_attention(q, k, v, mask, scale):
    """PyTorch's own attention, with key and value heads repeated by hand and the mask asked pair by pair."""
    (b, h, t, _), (_, g, s, _) = q.shape, k.shape
    index = torch.arange(h) // (h // g)
    allowed = torch.ones(b, h, t, s, dtype=torch.bool)
    if mask is not None:
        for at in torch.cartesian_prod(*map(torch.arange, (b, h, t, s))):
            allowed[tuple(at)] = mask.mask_mod(*at)
    return F.scaled_dot_product_attention(q, k[:, index], v[:, index], attn_mask=allowed, scale=scale)


@st.composite
def calls(draw):
    g = draw(st.integers(1, 3))
    shape = (draw(st.integers(1, 2)), g * draw(st.integers(1, 3)), g)
    lengths = (draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 9)))
    return shape + lengths, draw(st.sampled_from(list(MASKS))), draw(st.sampled_from([None, 0.3]))


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15, deadline=None)
@given(calls())
def test_agrees_with_pytorch_forward_and_backward(backend, call):
    shape, name, scale = call
    mask, qkv = MASKS[name], random_qkv(*shape)
    expected = softmax_attention(*qkv, mask, scale)
    found = attention(*qkv, mask=mask, scale=scale, backend=backend)
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, qkv, probe), torch.autograd.grad(expected, qkv, probe), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_is_as_exact_as_the_precision_allows(backend, dtype):
    qkv = random_qkv(1, 4, 2, 33, 33, 16, torch.float32)
    exact = softmax_attention(*(x.double() for x in qkv), None, None)
    low = [x.to(dtype) for x in qkv]
    index = torch.arange(4) // 2
    pytorch = (low[0] @ low[1][:, index].mT / 4).softmax(-1) @ low[2][:, index]
    error = (attention(*low, backend=backend) - exact).abs().max()
    assert error <= 2 * (pytorch - exact).abs().max() + torch.finfo(dtype).eps / 8


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_may_see_nothing_gets_zero_and_finite_gradients(backend):
    q, k, v = random_qkv(1, 1, 1, 3, 3, 4)
    out = attention(q, k, v, mask=Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx), backend=backend)
    assert out[0, 0, 0].tolist() == [0, 0, 0, 0]
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), (q, k, v)))


def test_weights_are_the_shares_of_each_value():
    q, k, _ = random_qkv(2, 4, 2, 5, 6, 8)
    weights = attention_weights(q, k, mask=masks.causal())
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5).double())
    assert not weights.masked_select(~masks.causal().dense(5, 6)).any()
    with_unit_values = torch.eye(6, 8).double().expand(2, 2, 6, 8)
    torch.testing.assert_close(weights, attention(q, k, with_unit_values, mask=masks.causal())[..., :6])


def shaped(*shapes):
    return [torch.zeros(shape) for shape in shapes]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("qkv", "message"),
    [
        (shaped((2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)), r"q has the shape \(2, 3, 4\).*\(B, H, T, D\)"),
        (shaped((1, 2, 3, 4), (1, 2, 3, 4), (2, 3)), r"v has the shape \(2, 3\).*\(B, G, S, D\)"),
        (shaped((1, 2, 3, 4), (1, 2, 5, 4), (1, 2, 6, 4)), r"k and v.*\(1, 2, 5, 4\) and \(1, 2, 6, 4\)"),
        (
            shaped((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 5)),
            "must agree in the batch B .* and the head width D",
        ),
        (shaped((1, 2, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)), "must agree in the batch B"),
        (shaped((1, 4, 3, 4), (1, 3, 3, 4), (1, 3, 3, 4)), "must divide.*G = 3 and H = 4"),
        (shaped((1, 2, 3, 4), (1, 4, 3, 4), (1, 4, 3, 4)), "must divide.*G = 4 and H = 2"),
    ],
)
def test_refuses_shapes_that_do_not_fit(qkv, message):
    with pytest.raises(ValueError, match=message):
        attention(*qkv)


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_is_not_floating_point_of_one_dtype():
    x = torch.zeros(1, 1, 2, 4)
    with pytest.raises(TypeError, match=r"k is torch\.int64"):
        attention(x, x.long(), x)
    with pytest.raises(TypeError, match="q is list"):
        attention([1.0], x, x)
    with pytest.raises(TypeError, match=r"one dtype, but have torch\.float32, torch\.float16"):
        attention(x, x.half(), x.half())
    with pytest.raises(ValueError, match="one device, but are on cpu, meta"):
        attention(x, x.to("meta"), x)


def test_refuses_a_mask_that_is_no_mask():
    x = torch.zeros(1, 1, 2, 4)
    with pytest.raises(TypeError, match="The mask is a Tensor, not a Mask"):
        attention(x, x, x, mask=torch.ones(2, 2, dtype=torch.bool))


def test_names_the_backends_that_there_are():
    x = torch.zeros(1, 1, 2, 4)
    with pytest.raises(
        ValueError, match="no attention backend 'cudnn' here; there are 'auto', 'reference', 'sdpa'"
    ):
        attention(x, x, x, backend="cudnn")
