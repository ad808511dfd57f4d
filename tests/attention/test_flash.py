"""The Triton kernel as a backend: its block masks hold what the masks say, and it says where it cannot serve."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.attention import Mask, attention, dispatch, masks
from llmlib.attention.flash import as_block_mask
from llmlib.kernels import flash_attention_reference

MASKS = {
    "window": masks.causal() & masks.window(70),
    "dilated": masks.dilated(3, 20),
    "longformer": masks.longformer(30, 2),
    "bigbird": masks.bigbird(32, r=1, length=150),
    "heads and sequences differ": Mask(lambda b, h, q_idx, kv_idx: (kv_idx - q_idx) % (b + 2) <= h),
    "nothing": Mask(lambda b, h, q_idx, kv_idx: q_idx < 0),
}


def qkv(*shape, device="cpu", dtype=torch.float64):
    B, H, G, T, S, D = shape  # noqa: N806
    generator = torch.Generator().manual_seed(0)
    shapes = (B, H, T, D), (B, G, S, D), (B, G, S, D)
    return [torch.randn(s, generator=generator).to(device, dtype).requires_grad_() for s in shapes]


@pytest.mark.parametrize("size", [64, (64, 128), 128])
@pytest.mark.parametrize("name", MASKS)
def test_a_block_mask_holds_what_the_mask_says(name, size):
    B, H, G, T, S, D = 2, 2, 1, 150, 200, 4  # noqa: N806
    q, k, v = qkv(B, H, G, T, S, D)
    options = {"batch": B, "heads": H}
    found = flash_attention_reference(
        q, k, v, block_mask=as_block_mask(MASKS[name].blocks(T, S, size=size, **options))
    )
    expected = F.scaled_dot_product_attention(
        q, k, v, attn_mask=MASKS[name].dense(T, S, **options), enable_gqa=True
    )
    torch.testing.assert_close(found, expected)


def test_it_says_why_it_cannot_serve_and_what_can():
    x = torch.ones(1, 1, 2, 8)
    with pytest.raises(ValueError, match=r"on a CUDA device, but q is torch\.float32 on cpu: take 'tiled'"):
        attention(x, x, x, backend="triton")


@pytest.mark.gpu
@pytest.mark.parametrize("name", [None, "causal", *MASKS])
def test_the_backend_agrees_with_the_formula(name):
    mask = MASKS.get(name, masks.causal() if name else None)
    inputs = qkv(2, 4, 2, 500, 700, 64, device="cuda", dtype=torch.bfloat16)
    exact = [x.detach().float().requires_grad_() for x in inputs]
    probe = torch.randn(2, 4, 500, 64, device="cuda", dtype=torch.bfloat16)

    def run(backend, arguments):
        out = attention(*arguments, mask=mask, backend=backend)
        return out, *torch.autograd.grad(out, arguments, probe.to(out.dtype))

    results = run("triton", inputs), run("reference", inputs), run("reference", exact)
    for factor, mine, theirs, true in zip((2, 3, 3, 3), *results, strict=True):
        floor = torch.finfo(torch.bfloat16).eps * true.abs().max()
        assert (mine - true).abs().max() <= factor * (theirs - true).abs().max() + floor


@pytest.mark.gpu
def test_auto_takes_it_for_masks_of_blocks():
    q = torch.empty(1, 8, 4096, 64, device="cuda", dtype=torch.bfloat16)
    hopper = torch.cuda.get_device_capability() >= (9, 0)
    assert (dispatch._choose(q, q, masks.window(100)) == "triton") == hopper
    assert dispatch._choose(q, q, masks.causal()) == "sdpa"
    assert dispatch._choose(q.float(), q.float(), masks.window(100)) != "triton"
