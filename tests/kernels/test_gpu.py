"""What only a GPU shows: sizes as in a model, tensors beyond 2³¹ numbers, torch.compile, autocast, memory."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib import kernels

pytestmark = pytest.mark.gpu


def draw(*shape, dtype=torch.bfloat16):
    return torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True)


def angles(length, half):
    theta = torch.rand(length, half, device="cuda") * 6
    return theta.cos(), theta.sin()


def test_they_are_available():
    assert kernels.available()
    assert kernels.available(draw(2), draw(2, dtype=torch.float32))
    assert not kernels.available(draw(2, dtype=torch.float64))
    assert not kernels.available(draw(2), torch.ones(2))


@pytest.mark.parametrize("width", [512, 4096, 5120, 8192, 16_384])
def test_rms_norm_over_many_rows(compare, randn, dtype, width):
    """So many that each program takes several, with loads ahead of the work."""
    inputs = [randn(*shape, dtype=dtype) for shape in ((2500, width), (width,), (2500, width))]
    compare(
        lambda x, weight, residual: kernels.rms_norm(x, weight, 1e-6, residual),
        lambda x, weight, residual: (F.rms_norm(x + residual, (width,), weight, 1e-6), x + residual),
        *inputs,
    )


def test_swiglu_as_wide_as_in_a_model(compare, randn, dtype):
    compare(
        kernels.swiglu,
        lambda gate, up: F.silu(gate) * up,
        *randn(600, 2 * 11_008, dtype=dtype).chunk(2, -1),
    )


def test_cross_entropy_over_a_vocabulary_as_in_a_model(compare, randn, device, dtype):
    targets = torch.randint(128_256, (300,), device=device)
    targets[::7] = -100
    compare(
        lambda logits: kernels.cross_entropy(logits, targets),
        lambda logits: F.cross_entropy(logits, targets),
        3 * randn(300, 128_256, dtype=dtype),
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    "shape", [(2, 8, 2, 1024, 1023, 128), (1, 4, 4, 2047, 2048, 64), (1, 2, 1, 700, 900, 256)]
)
def test_flash_attention_over_long_sequences(compare, randn, device, dtype, shape, causal):
    B, H, G, T, S, D = shape  # noqa: N806
    allowed = torch.ones(T, S, dtype=torch.bool, device=device).tril() if causal else None

    def formula(q, k, v):
        k, v = (x.repeat_interleave(H // G, dim=1) for x in (k, v))
        scores = q @ k.mT / D**0.5
        return (scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)).softmax(-1) @ v

    compare(
        lambda q, k, v: kernels.flash_attention(q, k, v, causal=causal),
        formula,
        *(randn(*s, dtype=dtype) for s in ((B, H, T, D), (B, G, S, D), (B, G, S, D))),
        by_row=False,
    )


def test_flash_attention_keeps_no_scores():
    """Beside q, k, v and what has their size, one or two numbers a query."""
    q, k, v = (draw(1, 4, 8192, 64) for _ in range(3))
    size = q.numel() * q.element_size()
    kernels.flash_attention(q, k, v, causal=True).sum().backward()  # compiled, and the allocator warm
    q.grad = k.grad = v.grad = None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    out = kernels.flash_attention(q, k, v, causal=True)
    assert torch.cuda.max_memory_allocated() - before < 1.1 * size
    out.backward(torch.ones_like(out))
    # The output, its gradient, three gradients and at most one copy: the scores would be 64 times as much.
    assert torch.cuda.max_memory_allocated() - before < 7 * size


def block(x, residual, weight, gate, up, cos, sin, logits, targets):
    """All kernels, as a model calls them."""
    normed, summed = kernels.rms_norm(x, weight, 1e-6, residual)
    q = normed.view(2, 8, 4, 16).transpose(1, 2)
    q, k = kernels.rope(q, q[:, :2], cos, sin)
    attended = kernels.flash_attention(q, k, k, causal=True)
    hidden = kernels.swiglu(gate, up)
    loss = kernels.cross_entropy(logits, targets)
    return loss + sum(y.float().square().mean() for y in (summed, q, k, attended, hidden))


def test_compiling_changes_nothing():
    leaves = [draw(2, 8, 64), draw(2, 8, 64), draw(64), draw(2, 8, 96), draw(2, 8, 96)]
    table, logits = angles(8, 8), draw(2, 8, 500)
    targets = torch.randint(500, (2, 8), device="cuda")
    eager = block(*leaves, *table, logits, targets)
    expected = torch.autograd.grad(eager, [*leaves, logits])
    compiled = torch.compile(block, fullgraph=True)(*leaves, *table, logits, targets)
    found = torch.autograd.grad(compiled, [*leaves, logits])
    assert compiled.item() == pytest.approx(eager.item(), rel=1e-4)
    for x, y in zip(found, expected, strict=True):
        assert torch.allclose(x.float(), y.float(), rtol=0.02, atol=1e-5)


def test_under_autocast_the_weight_may_stay_in_float32():
    x, weight = draw(4, 64, dtype=torch.float32), draw(64, dtype=torch.float32)
    matrix = draw(64, 64, dtype=torch.float32)
    with torch.autocast("cuda", torch.bfloat16):
        y = kernels.rms_norm(x @ matrix, weight)
    assert y.dtype == torch.bfloat16
    dweight, _ = torch.autograd.grad(y.float().sum(), (weight, x))
    assert dweight.dtype == torch.float32


def rotated(q):
    half = q.shape[-1] // 2
    theta = torch.arange(q.shape[2] * half, device="cuda").view(-1, half) % 7.0
    return kernels.rope(q, q[:, :1].detach(), theta.cos(), theta.sin())[0]


def last_targets_only(logits):
    """The loss of the last three rows."""
    targets = torch.full((len(logits),), -100, device="cuda")
    targets[-3:] = torch.tensor([0, 5, logits.shape[1] - 1])
    return kernels.cross_entropy(logits, targets)


BEYOND = {
    "rms_norm": ((2**19 + 1, 4096), lambda x: kernels.rms_norm(x, torch.ones_like(x[0]))),
    "swiglu": ((2**19 + 1, 4096), lambda x: kernels.swiglu(x, x.detach())),
    "rope": ((1025, 32, 512, 128), rotated),
    "cross_entropy": ((17_000, 128_256), last_targets_only),
    "flash_attention": ((1025, 32, 512, 128), lambda x: kernels.flash_attention(x, x, x, causal=True)),
}


@pytest.mark.parametrize("name", BEYOND)
def test_more_numbers_than_an_int32_counts(name):
    """The last rows of 4 GiB are those that come out alone."""
    if torch.cuda.mem_get_info()[0] < 40 * 2**30:
        pytest.skip("needs 40 GiB of free GPU memory")
    shape, function = BEYOND[name]
    x = draw(*shape)
    assert x.numel() > 2**31
    last = x[-3:].detach().requires_grad_()
    y, expected = function(x), function(last)
    assert torch.equal(y[-3:] if y.dim() else y, expected)
    gradient = x.detach() if y.dim() else None
    (dx,) = torch.autograd.grad(y, x, gradient)
    (dlast,) = torch.autograd.grad(expected, last, gradient[-3:] if y.dim() else None)
    assert torch.equal(dx[-3:], dlast)


def test_cross_entropy_keeps_one_copy_of_the_logits_less():
    """Forward adds next to nothing to the logits, and backward their gradient alone."""
    logits, targets = draw(1024, 50_000), torch.randint(50_000, (1024,), device="cuda")
    size = logits.numel() * logits.element_size()
    kernels.cross_entropy(logits, targets).backward()  # compiled, and the allocator warm
    logits.grad = None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    loss = kernels.cross_entropy(logits, targets)
    assert torch.cuda.max_memory_allocated() - before < 0.01 * size
    loss.backward()
    assert torch.cuda.max_memory_allocated() - before < 1.01 * size
    expected = F.cross_entropy(logits.detach().float(), targets)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
