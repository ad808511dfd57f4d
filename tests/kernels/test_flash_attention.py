"""FlashAttention: on a GPU, and in the interpreter (test_interpreter.py)."""

import functools
import os

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.attention import Mask, masks
from llmlib.attention.flash import as_block_mask
from llmlib.kernels import BlockMask, flash_attention, flash_attention_reference

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = [] if INTERPRETED else pytest.mark.gpu

SHAPES = {  # B, H, G, T, S, D
    "one number": (1, 1, 1, 1, 1, 1),
    "two queries": (2, 3, 1, 2, 70, 16),
    "awkward lengths": (1, 2, 2, 113, 203, 24),
    "more queries than keys": (1, 4, 2, 150, 67, 16),
    "a width of no multiple of 16 bytes": (1, 1, 1, 40, 40, 33),
    "wide": (1, 1, 1, 130, 20, 200),
}
MASKS = {
    "window": masks.causal() & masks.window(40),
    "global and random": masks.global_tokens(3) | masks.random_blocks(1, 32, seed=0),
    "heads and sequences differ": Mask(lambda b, h, q_idx, kv_idx: (kv_idx - q_idx) % (b + 2) <= h),
    "most see nothing": Mask(lambda b, h, q_idx, kv_idx: (q_idx % 50 == 7) & (kv_idx > 100)),
}


def qkv(randn, dtype, B, H, G, T, S, D):  # noqa: N803
    return randn(B, H, T, D, dtype=dtype), randn(B, G, S, D, dtype=dtype), randn(B, G, S, D, dtype=dtype)


def pytorch(q, k, v, allowed=None, scale=None):
    """PyTorch's formula in the dtype of q, operation by operation, with every pair in memory."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    if allowed is None:
        return scores.softmax(-1) @ v
    weights = scores.masked_fill(~allowed, torch.finfo(q.dtype).min).softmax(-1)
    return weights.masked_fill(~allowed, 0) @ v


@pytest.fixture
def compare(compare):
    """By the rule of FlashAttention's own tests: the largest error of all, beside PyTorch's."""
    return functools.partial(compare, by_row=False)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients(compare, randn, device, dtype, name, causal):
    inputs = qkv(randn, dtype, *SHAPES[name])
    lengths = inputs[0].shape[2], inputs[1].shape[2]
    allowed = torch.ones(lengths, dtype=torch.bool, device=device).tril() if causal else None
    compare(
        lambda q, k, v: flash_attention(q, k, v, causal=causal),
        lambda q, k, v: pytorch(q, k, v, allowed),
        *inputs,
    )


@pytest.mark.parametrize("name", MASKS)
def test_block_masks(compare, randn, device, dtype, name):
    B, H, G, T, S, D = 2 if "differ" in name else 1, 2, 1, 90, 170, 16  # noqa: N806
    options = {"batch": B, "heads": H, "device": device}
    blocks = as_block_mask(MASKS[name].blocks(T, S, size=128 if name == "window" else 64, **options))
    allowed = MASKS[name].dense(T, S, **options)
    compare(
        lambda q, k, v: flash_attention(q, k, v, block_mask=blocks),
        lambda q, k, v: pytorch(q, k, v, allowed),
        *qkv(randn, dtype, B, H, G, T, S, D),
    )


def test_a_query_that_may_see_no_key_gets_zero(randn, device, dtype):
    q, k, v = (x.requires_grad_() for x in qkv(randn, dtype, 1, 1, 1, 70, 70, 16))
    mask = Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx - 64)  # more than a block sees nothing
    blocks = as_block_mask(mask.blocks(70, size=64, device=device))
    out = flash_attention(q, k, v, block_mask=blocks)
    assert (out[0, 0, :65] == 0).all()
    assert (out[0, 0, 65:] != 0).any(-1).all()
    dq, dk, dv = torch.autograd.grad(out.sum(), (q, k, v))
    assert (dq[0, 0, :65] == 0).all()
    assert all(x.isfinite().all() for x in (dq, dk, dv))
    assert (dv[0, 0, 5:] == 0).all()


@pytest.mark.parametrize("causal", [False, True])
def test_huge_scores(randn, device, dtype, causal):
    """Some 10⁴ apart: each query takes the value of the one key that fits it best."""
    q, k, v = qkv(randn, dtype, 1, 1, 1, 90, 90, 32)
    q, k = 100 * q, 100 * k
    scores = q.double() @ k.double().mT
    if causal:
        scores = scores.masked_fill(torch.ones(90, 90, dtype=torch.bool, device=device).triu(1), -torch.inf)
    exact = scores.softmax(-1) @ v.double()
    found = flash_attention(q, k, v, causal=causal, scale=1.0)
    # The scores themselves are rounded, to float32: by some 2⁻²⁴ · 10⁵.
    assert (found - exact).abs().max() <= 0.05
    assert torch.equal(found.argmax(-1), exact.argmax(-1))


@pytest.mark.parametrize("scale", [0.0, -0.7, 3.0])
def test_any_scale(compare, randn, dtype, scale):
    compare(
        lambda q, k, v: flash_attention(q, k, v, scale=scale),
        lambda q, k, v: pytorch(q, k, v, scale=scale),
        *qkv(randn, dtype, 1, 1, 1, 30, 40, 16),
    )


def test_what_is_no_number_stays_with_its_query(randn, dtype):
    q, k, v = qkv(randn, dtype, 1, 1, 1, 100, 100, 16)
    expected = flash_attention(q, k, v, causal=True)
    q[0, 0, 37] = torch.nan
    out = flash_attention(q.requires_grad_(), k, v, causal=True)
    others = torch.arange(100) != 37
    assert out[0, 0, 37].isnan().all()
    assert torch.equal(out[0, 0, others], expected[0, 0, others])
    (dq,) = torch.autograd.grad(out[..., :, :].nan_to_num(0).sum(), q)
    assert dq[0, 0, others].isfinite().all()


@pytest.mark.parametrize("layout", ["heads last", "transposed", "a slice off its 16 bytes", "expanded"])
def test_input_that_is_not_contiguous(compare, randn, dtype, layout):
    wide = randn(2, 45, 2, 49, dtype=dtype)
    x = {
        "heads last": wide[..., :32].transpose(1, 2),  # read in place
        "transposed": wide.permute(0, 2, 3, 1)[..., :32],
        "a slice off its 16 bytes": wide.transpose(1, 2)[..., 1:33],
        "expanded": wide[:, :, :1, :32].transpose(1, 2).expand(2, 2, 45, 32),
    }[layout]
    compare(lambda x: flash_attention(x, x, x.flip(2)), lambda x: pytorch(x, x, x.flip(2)), x)


def test_the_gradient_of_a_sum_which_is_expanded(randn, dtype):
    q, k, v = (x.requires_grad_() for x in qkv(randn, dtype, 1, 2, 1, 20, 20, 16))
    found = torch.autograd.grad(flash_attention(q, k, v).sum(), (q, k, v))
    out = flash_attention(q, k, v)
    expected = torch.autograd.grad(out, (q, k, v), torch.ones_like(out))
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_the_same_in_every_run(randn, device, dtype):
    shape = (1, 2, 1, 70, 70, 16) if device == "cpu" else (2, 8, 2, 1000, 1000, 64)
    q, k, v = (x.requires_grad_() for x in qkv(randn, dtype, *shape))

    def run():
        out = flash_attention(q, k, v, causal=True)
        return out, *torch.autograd.grad(out, (q, k, v), q.detach())

    first, *others = (run() for _ in range(2 if device == "cpu" else 10))
    assert all(torch.equal(x, y) for other in others for x, y in zip(first, other, strict=True))


@pytest.mark.parametrize("shape", [(0, 2, 1, 4, 4, 8), (1, 2, 1, 0, 4, 8), (1, 2, 1, 4, 0, 8)])
def test_empty_tensors(randn, dtype, shape):
    q, k, v = (x.requires_grad_() for x in qkv(randn, dtype, *shape))
    out = flash_attention(q, k, v)
    assert out.shape == q.shape
    gradients = torch.autograd.grad(out.sum(), (q, k, v))
    assert all((y == 0).all() for y in (out, *gradients))


@pytest.mark.parametrize("name", [None, *MASKS])
def test_the_reference(randn, device, name):
    B, H, G, T, S, D = 2, 2, 1, 130, 190, 8  # noqa: N806
    q, k, v = qkv(randn, torch.float64, B, H, G, T, S, D)
    mask = masks.causal() if name is None else MASKS[name]
    options = {"batch": B, "heads": H, "device": device}
    given = {"causal": True} if name is None else {"block_mask": as_block_mask(mask.blocks(T, S, **options))}
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.dense(T, S, **options), enable_gqa=True)
    torch.testing.assert_close(flash_attention_reference(q, k, v, **given), expected)


def test_bad_input(device):
    q, k = torch.ones(2, 4, 5, 8, device=device), torch.ones(2, 2, 6, 8, device=device)
    with pytest.raises(
        TypeError, match=r"q is torch\.float64: convert it with .to\(...\), or call flash_attention_ref"
    ):
        flash_attention(q.double(), k.double(), k.double())
    with pytest.raises(
        TypeError, match=r"one dtype, but have torch\.float32, torch\.float16, torch\.float32"
    ):
        flash_attention(q, k.half(), k)
    with pytest.raises(
        ValueError, match=r"k and v both \(B, G, S, D\), but q is \(2, 4, 5, 8\), k is \(2, 6, 8\)"
    ):
        flash_attention(q, k[:, 0], k)
    with pytest.raises(ValueError, match=r"k and v both \(B, G, S, D\), but .* k is \(1, 2, 6, 8\)"):
        flash_attention(q, k[:1], k[:1])
    with pytest.raises(
        ValueError, match=r"head width D must be one number from 1 to 256, .* k is \(2, 2, 6, 7\)"
    ):
        flash_attention(q, k[..., :7], k[..., :7])
    with pytest.raises(ValueError, match="from 1 to 256"):
        flash_attention(*3 * [torch.ones(1, 1, 2, 257, device=device)])
    with pytest.raises(ValueError, match=r"G must divide the query heads H, but q is \(2, 3, 5, 8\)"):
        flash_attention(q[:, :3], k, k)


def test_a_mask_that_does_not_fit(device):
    q, k = torch.ones(2, 4, 70, 8, device=device), torch.ones(2, 2, 70, 8, device=device)

    def blocks(*lengths, mask=None, **options):
        return as_block_mask((mask or masks.causal()).blocks(*lengths, device=device, **options))

    with pytest.raises(ValueError, match=r"is for T, S = \(70, 60\), but q and k have \(70, 70\)"):
        flash_attention(q, k, k, block_mask=blocks(70, 60))
    with pytest.raises(ValueError, match="not both"):
        flash_attention(q, k, k, causal=True, block_mask=blocks(70))
    with pytest.raises(TypeError, match="must be a BlockMask, but is a tuple"):
        flash_attention(q, k, k, block_mask=tuple(blocks(70)))
    with pytest.raises(
        ValueError, match=r"64, 128, 256 ... long, but the block mask has 192 queries and 64 keys"
    ):
        flash_attention(q, k, k, block_mask=blocks(70, size=(192, 64)))
    per_head = Mask(lambda b, h, q_idx, kv_idx: kv_idx >= h)
    with pytest.raises(ValueError, match=r"for \(1, 3\) sequences and heads, but q has \(2, 4\)"):
        flash_attention(q, k, k, block_mask=blocks(70, mask=per_head, heads=3))


@pytest.mark.parametrize("masked", [False, True])
def test_torch_compile_knows_the_operation(randn, device, masked):
    """Its schema, the shapes and strides that it announces, and its gradients where it is compiled."""
    shape = (1, 2, 1, 70, 40, 16)
    q, k, v = (x.requires_grad_() for x in qkv(randn, torch.float32, *shape))
    mask = []
    if masked:
        blocks = as_block_mask(masks.window(3).blocks(70, 40, device=device))
        mask = [*blocks.by_query, *blocks.by_key, blocks.words]
    torch.library.opcheck(torch.ops.llmlib.flash_attention.default, (q, k, v, 0.25, not masked, mask))


def test_a_second_derivative_is_refused(device):
    x = torch.ones(1, 1, 2, 8, device=device, requires_grad=True)
    with pytest.raises(RuntimeError, match="create_graph=True asks for more: call flash_attention_reference"):
        torch.autograd.grad(flash_attention(x, x, x).sum(), x, create_graph=True)


def test_a_block_mask_is_made_of_plain_tensors(device):
    mask = as_block_mask(masks.window(5).blocks(200, size=(64, 128), device=device))
    assert isinstance(mask, BlockMask)
    assert mask.words.shape[1:] == (64, 2)
    assert mask.words.dtype == torch.int64
