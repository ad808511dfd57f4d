"""Sparse attention on a CUDA device: as exact as on the CPU, and the same bits in every run."""

import pytest
import torch

from llmlib.attention import Mask, alibi, attention, masks
from llmlib.attention.hashing import lsh_attention

pytestmark = pytest.mark.gpu
MASKS = [
    None,
    masks.causal() & masks.window(40),
    masks.longformer(9, 2, (1, 3)),
    masks.bigbird(16, 1, 1, 2),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx - 20, "nothing for the first"),
]


def random_qkv(dtype):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 4, 300, 32), (2, 2, 333, 32), (2, 2, 333, 32)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def run(call, qkv, device, dtype):
    """The output and the gradients of a call, in float64 on the CPU."""
    inputs = [x.to(device, dtype).requires_grad_() for x in qkv]
    out = call(*inputs)
    gradients = torch.autograd.grad(out, inputs, torch.ones_like(out).cumsum(-1) / 10)
    return [x.double().cpu() for x in (out.detach(), *gradients)]


@pytest.mark.parametrize("backend", ["block_sparse", "flex"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_is_as_exact_as_the_precision_allows(mask, dtype, backend, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    qkv = random_qkv(dtype)
    exact = run(lambda *x: attention(*x, mask=mask, backend="reference"), qkv, "cpu", torch.float64)
    formula = run(lambda *x: attention(*x, mask=mask, backend="reference"), qkv, "cuda", dtype)
    found = run(lambda *x: attention(*x, mask=mask, backend=backend), qkv, "cuda", dtype)
    for number, (ours, theirs, true) in enumerate(zip(found, formula, exact, strict=True)):
        floor = torch.finfo(dtype).eps * true.abs().max()
        assert (ours - true).abs().max() <= (3 if number else 2) * (theirs - true).abs().max() + floor


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_gives_the_same_bits_again(mask):
    runs = [
        run(
            lambda *x: attention(*x, mask=mask, backend="block_sparse"),
            random_qkv(torch.float32),
            "cuda",
            torch.float32,
        )
        for _ in range(2)
    ]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_hashing_gives_on_a_gpu_what_it_gives_on_the_cpu():
    results = [
        run(
            lambda *x: lsh_attention(*x, buckets=8, rounds=2, mask=masks.causal()),
            random_qkv(torch.float32),
            device,
            torch.float64,
        )
        for device in ("cpu", "cuda")
    ]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_bias_is_added_as_exactly_as_the_precision_allows(dtype, backend, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    qkv, options = random_qkv(dtype), {"mask": masks.causal(), "bias": alibi(4)}
    exact = run(lambda *x: attention(*x, **options, backend="reference"), qkv, "cpu", torch.float64)
    formula = run(lambda *x: attention(*x, **options, backend="reference"), qkv, "cuda", dtype)
    found = run(lambda *x: attention(*x, **options, backend=backend), qkv, "cuda", dtype)
    for number, (ours, theirs, true) in enumerate(zip(found, formula, exact, strict=True)):
        floor = torch.finfo(dtype).eps * true.abs().max()
        assert (ours - true).abs().max() <= (3 if number else 2) * (theirs - true).abs().max() + floor
