"""FlashAttention in plain PyTorch: exact, in any tiling, with memory that grows as the length; and its traffic."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import Mask, attention, masks
from llmlib.attention.tiled import Traffic, tiled_attention, walk

MASKS = {
    "none": None,
    "causal": masks.causal(),
    "window": masks.window(2),
    "heads and sequences differ": Mask(lambda b, h, q_idx, kv_idx: (q_idx + kv_idx + h) % (b + 2) == 0),
    "most see nothing": Mask(lambda b, h, q_idx, kv_idx: (q_idx % 5 == 3) & (kv_idx > 1)),
}


def random_qkv(B, H, G, T, S, D, dtype=torch.float64):  # noqa: N803
    generator = torch.Generator().manual_seed(0)
    shapes = (B, H, T, D), (B, G, S, D), (B, G, S, D)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def pytorch(q, k, v, mask=None, scale=None):
    allowed = None
    if mask is not None:
        allowed = mask.dense(q.shape[2], k.shape[2], batch=q.shape[0], heads=q.shape[1])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale, enable_gqa=True)


@st.composite
def calls(draw):
    G = draw(st.integers(1, 3))  # noqa: N806
    shape = draw(st.integers(1, 2)), G * draw(st.integers(1, 2)), G
    lengths = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 5))
    tile = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    return shape + lengths, tile, draw(st.sampled_from(list(MASKS))), draw(st.sampled_from([None, -0.3]))


@settings(max_examples=40, deadline=None)
@given(calls())
def test_agrees_with_pytorch_in_any_tiling(call):
    shape, tile, name, scale = call
    inputs, mask = random_qkv(*shape), MASKS[name]
    expected = pytorch(*inputs, mask, scale)
    found = tiled_attention(*inputs, mask=mask, scale=scale, tile=tile)
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    gradients = (torch.autograd.grad(y, inputs, probe) for y in (found, expected))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_is_as_exact_as_the_precision_allows(dtype):
    """The rule of FlashAttention's own tests: twice PyTorch's error, three times in gradients, and a last place."""
    inputs = [x.detach().to(dtype).requires_grad_() for x in random_qkv(1, 4, 2, 113, 203, 16)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    probe = torch.randn(1, 4, 113, 16).to(dtype)

    def formula(q, k, v):
        k, v = (x.repeat_interleave(2, dim=1) for x in (k, v))
        return (q @ k.mT / 4).softmax(-1) @ v

    def run(function, arguments):
        out = function(*arguments)
        return out, *torch.autograd.grad(out, arguments, probe.to(out.dtype))

    found = run(lambda *x: tiled_attention(*x, tile=(32, 48)), inputs)
    for factor, mine, theirs, true in zip(
        (2, 3, 3, 3), found, run(formula, inputs), run(formula, exact), strict=True
    ):
        floor = torch.finfo(dtype).eps * true.abs().max()
        assert (mine - true).abs().max() <= factor * (theirs - true).abs().max() + floor


def test_a_query_that_may_see_nothing_gets_zero():
    q, k, v = random_qkv(1, 1, 1, 9, 9, 4)
    mask = Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx - 4)
    out = tiled_attention(q, k, v, mask=mask, tile=(2, 3))
    assert (out[0, 0, :5] == 0).all()
    gradients = torch.autograd.grad(out.sum(), (q, k, v))
    assert all(x.isfinite().all() for x in gradients)
    assert (gradients[0][0, 0, :5] == 0).all()


def test_huge_scores():
    q, k, v = random_qkv(1, 1, 1, 30, 30, 8)
    torch.testing.assert_close(
        tiled_attention(1e4 * q, 1e4 * k, v, tile=(4, 4)), pytorch(1e4 * q, 1e4 * k, v)
    )


def test_what_is_no_number_stays_with_its_query():
    q, k, v = (x.detach() for x in random_qkv(1, 1, 1, 9, 9, 4))
    expected = tiled_attention(q, k, v, tile=(4, 4))
    q[0, 0, 2] = torch.nan
    out = tiled_attention(q, k, v, tile=(4, 4))
    assert out[0, 0, 2].isnan().all()
    others = torch.arange(9) != 2
    assert torch.equal(out[0, 0, others], expected[0, 0, others])


def test_the_running_softmax_of_four_numbers():
    """By hand: the scores 1, 2 | 4, 3 and the values 1 to 4, two keys at a time."""
    q, k = torch.ones(1, 1, 1, 1).double(), torch.tensor([1.0, 2, 4, 3]).double().view(1, 1, 4, 1)
    v = torch.tensor([1.0, 2, 3, 4]).double().view(1, 1, 4, 1)
    first, second = walk(q, k, v, scale=1.0, tile=(1, 2))
    e = torch.e
    assert (first.highest.item(), second.highest.item()) == (2, 4)
    assert first.total.item() == pytest.approx(e**-1 + 1)
    assert first.weighted.item() == pytest.approx(1 * e**-1 + 2)
    assert second.total.item() == pytest.approx(e**-3 + e**-2 + 1 + e**-1)
    assert second.weighted.item() == pytest.approx(1 * e**-3 + 2 * e**-2 + 3 + 4 * e**-1)
    assert (first.last, second.last) == (False, True)


def test_the_walk_leaves_out_tiles_that_the_mask_hides():
    q, k, v = (x.detach() for x in random_qkv(1, 1, 1, 6, 6, 4))
    steps = list(walk(q, k, v, mask=masks.causal(), tile=(2, 2)))
    places = [(step.rows.start, step.columns.start) for step in steps]
    assert places == [(0, 0), (2, 0), (2, 2), (4, 0), (4, 2), (4, 4)]
    assert [step.last for step in steps] == [True, False, True, False, False, True]
    seen = pytorch(q[:, :, 4:], k[:, :, :4], v[:, :, :4])
    torch.testing.assert_close(steps[4].weighted / steps[4].total, seen)


def test_traffic_is_what_the_algorithm_moves():
    """Queries and output once, keys and values once for each tile of queries."""
    B, H, T, S, D, size, tiles = 2, 3, 64, 48, 8, 4, 4  # noqa: N806
    q, k, v = random_qkv(B, H, H, T, S, D, torch.float32)
    traffic = Traffic()
    out = tiled_attention(q, k, v, tile=(T // tiles, 16), traffic=traffic)
    assert traffic.read == size * B * H * (T * D + tiles * 2 * S * D)
    assert traffic.written == size * B * H * (T * D + T)  # and log Σ exp of each query
    traffic.read = traffic.written = 0
    out.backward(torch.ones_like(out))
    # Output and its gradient for their products; keys and values once; and for each of 3 tiles of keys, queries,
    # the output's gradient, two numbers a query, and dQ to and fro.
    assert traffic.read == size * B * H * (2 * T * D + 2 * S * D + 3 * (3 * T * D + 2 * T))
    assert traffic.written == size * B * H * (T + 2 * S * D + 3 * T * D)


def test_traffic_falls_as_fast_memory_grows():
    """Theorem 2 of Dao et al. 2022: Θ(T² D² / M), as the tile of queries is M / D."""
    q, k, v = (x.detach() for x in random_qkv(1, 1, 1, 256, 256, 4, torch.float32))
    read = []
    for rows in (8, 16, 32):
        traffic = Traffic()
        tiled_attention(q, k, v, tile=(rows, 8), traffic=traffic)
        read.append(traffic.read - q.numel() * 4)
    assert read[0] == 2 * read[1] == 4 * read[2]


def test_causal_attention_moves_about_half():
    q, k, v = (x.detach() for x in random_qkv(1, 1, 1, 256, 256, 4, torch.float32))
    full, half = Traffic(), Traffic()
    tiled_attention(q, k, v, tile=(16, 16), traffic=full)
    tiled_attention(q, k, v, mask=masks.causal(), tile=(16, 16), traffic=half)
    once = q.numel() * 4
    assert (half.read - once) / (full.read - once) == pytest.approx(17 / 32)


def largest_tensor(function):
    """How many numbers the largest tensor has that a function makes."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        largest = 0

        def __torch_dispatch__(self, operation, types, arguments=(), options=None):
            out = operation(*arguments, **(options or {}))
            if isinstance(out, torch.Tensor):
                self.largest = max(self.largest, out.untyped_storage().nbytes() // out.element_size())
            return out

    with Watch() as watch:
        function()
    return watch.largest


@pytest.mark.parametrize("mask", [None, masks.causal()])
def test_nothing_as_large_as_the_scores_is_ever_made(mask):
    T, D = 256, 2  # noqa: N806
    q, k, v = random_qkv(1, 1, 1, T, T, D, torch.float32)

    def forward_and_backward():
        tiled_attention(q, k, v, mask=mask, tile=(16, 16)).sum().backward()

    assert largest_tensor(forward_and_backward) == T * D  # a gradient
    assert largest_tensor(lambda: attention(q, k, v, mask=mask, backend="reference")) >= T * T


def test_refuses_an_empty_tile():
    q, k, v = random_qkv(1, 1, 1, 2, 2, 2)
    with pytest.raises(ValueError, match=r"at least 1 query and 1 key, but got tile = \(4, 0\)"):
        tiled_attention(q, k, v, tile=(4, 0))


def test_a_second_derivative_is_refused():
    q, k, v = random_qkv(1, 1, 1, 2, 2, 2)
    (dq,) = torch.autograd.grad((tiled_attention(q, k, v) ** 2).sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dq.sum().backward()
