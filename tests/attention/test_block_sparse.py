"""Block-sparse attention equals dense attention with the same mask, forward and backward, and costs what it keeps."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.attention import Mask, attention, block_sparse, masks

MASKS = [
    masks.full(),
    masks.causal(),
    masks.prefix(9),
    masks.window(5),
    masks.dilated(3, 4),
    masks.dilated(3, (1, 2, 4, 7)),
    masks.global_tokens(3),
    masks.block_local(7),
    masks.random_blocks(2, 4, 1),
    masks.star_transformer(),
    masks.longformer(4, 2, (1, 3)),
    masks.etc(4, 5, 13),
    masks.bigbird(8, 1, 1, 2),
    masks.bigbird(8, 1, 1, 2, length=113),
    ~masks.window(9),
    masks.causal() & masks.window(3),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < torch.tensor([5, 60])[b], "padding"),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < b + h - 1, "nothing for some"),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx - 20, "nothing for the first"),
]


def random_qkv(b, h, g, t, s, d, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (b, h, t, d), (b, g, s, d), (b, g, s, d)
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


def pytorch(q, k, v, mask, scale=None):
    """PyTorch's attention with the mask written out."""
    (b, h, t, _), (_, g, s, _) = q.shape, k.shape
    k, v = (x.repeat_interleave(h // g, 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, mask.dense(t, s, batch=b, heads=h), scale=scale)


@pytest.mark.parametrize(
    ("heads", "lengths", "size"),
    [((4, 4), (113, 113), 16), ((4, 2), (113, 203), 64), ((4, 1), (70, 5), 8), ((4, 4), (1, 130), 32)],
)
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_equals_dense_attention_forward_and_backward(mask, heads, lengths, size):
    qkv = random_qkv(2, *heads, *lengths, 8)
    found, expected = (
        block_sparse.block_sparse(*qkv, mask=mask, scale=0.3, size=size),
        pytorch(*qkv, mask, 0.3),
    )
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, qkv, probe), torch.autograd.grad(expected, qkv, probe), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_gradients_are_those_of_finite_differences():
    qkv = random_qkv(1, 2, 1, 9, 11, 3)
    lists = (masks.window(3) | masks.global_tokens(1)).blocks(9, 11, size=4)
    assert torch.autograd.gradcheck(lambda *x: block_sparse.attend(*x, lists), qkv)


def test_the_log_sum_exp_is_that_of_the_scores():
    q, k, v = random_qkv(1, 2, 2, 33, 40, 8)
    mask = Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx)
    _, lse = block_sparse.attend(q, k, v, mask.blocks(33, 40, size=8), 0.5)
    scores = (0.5 * q @ k.mT).masked_fill(~mask.dense(33, 40), -torch.inf)
    torch.testing.assert_close(lse, scores.logsumexp(-1))
    assert (lse[..., 0] == -torch.inf).all()


def slow(q, k, v, mask):
    """Attention by its formula in the precision of the input: the error that this precision brings."""
    hidden = ~mask.dense(q.shape[2], k.shape[2])
    scores = (q @ k.mT / q.shape[-1] ** 0.5).masked_fill(hidden, torch.finfo(q.dtype).min)
    return scores.softmax(-1).masked_fill(hidden, 0) @ v


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("factor", [1, 30], ids=["usual", "huge logits"])
def test_is_as_exact_as_the_precision_allows(dtype, factor):
    mask = masks.causal() & masks.window(40)
    low = [
        (x.detach() * f).to(dtype)
        for x, f in zip(random_qkv(1, 4, 4, 130, 130, 32), (factor, 1, 1), strict=True)
    ]
    results = []
    for call, given in (
        (lambda *x: block_sparse.block_sparse(*x, mask=mask, scale=None), low),
        (lambda *x: slow(*x, mask), low),
        (lambda *x: slow(*x, mask), [x.double() for x in low]),
    ):
        inputs = [x.clone().requires_grad_() for x in given]
        out = call(*inputs)
        gradients = torch.autograd.grad(out, inputs, torch.ones_like(out).cumsum(2) / 100)
        results.append([x.double() for x in (out, *gradients)])
    for number, (ours, theirs, exact) in enumerate(zip(*results, strict=True)):
        floor = torch.finfo(dtype).eps / 2 * exact.abs().max()
        assert (ours - exact).abs().max() <= (3 if number else 2) * (theirs - exact).abs().max() + floor


def test_takes_strides_of_any_kind():
    plain = random_qkv(2, 4, 2, 65, 65, 8)
    strided = [x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in plain]
    assert not strided[0].is_contiguous()
    results = []
    for qkv in (plain, strided):
        out = attention(*qkv, mask=masks.window(4), backend="block_sparse")
        results.append((out, *torch.autograd.grad(out.sum(), qkv)))  # the gradient of a sum has strides of 0
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_gives_the_same_bits_again():
    results = []
    for _ in range(2):
        qkv = random_qkv(2, 4, 2, 300, 300, 16, torch.float32)
        out = attention(*qkv, mask=masks.bigbird(16), backend="block_sparse")
        results.append((out, *torch.autograd.grad(out.square().sum(), qkv)))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_a_nan_in_a_query_stays_in_its_row():
    q, k, v = (x.detach() for x in random_qkv(1, 2, 2, 100, 100, 8))
    clean = attention(q, k, v, mask=masks.window(9), backend="block_sparse")
    q[0, 1, 40, 3] = torch.nan
    out = attention(q, k, v, mask=masks.window(9), backend="block_sparse")
    assert out[0, 1, 40].isnan().all()
    out[0, 1, 40] = clean[0, 1, 40]
    assert torch.equal(out, clean)


def test_computes_the_kept_blocks_and_no_other(monkeypatch):
    counted = []
    product = block_sparse._product

    def counting(a, b, scale):
        scores = product(a, b, scale)
        counted.append(scores.numel())
        return scores

    monkeypatch.setattr(block_sparse, "_product", counting)
    mask, qkv = masks.longformer(32, 1), random_qkv(2, 4, 2, 1024, 1024, 4, torch.float32)
    kept = mask.blocks(1024, size=16).kept
    assert kept < 0.12 * 64**2
    out = block_sparse.block_sparse(*qkv, mask=mask, scale=None, size=16)
    assert sum(counted) == 2 * 4 * kept * 16**2
    counted.clear()
    out.sum().backward()
    assert sum(counted) == 2 * 2 * 4 * kept * 16**2  # once for the queries, once for the keys


@pytest.mark.parametrize("lengths", [(0, 5), (5, 0)])
def test_an_empty_sequence_gives_what_there_is(lengths):
    qkv = random_qkv(1, 4, 2, *lengths, 8)
    out = attention(*qkv, mask=masks.causal(), backend="block_sparse")
    assert out.shape == (1, 4, lengths[0], 8)
    assert not out.any()
    assert not any(gradient.any() for gradient in torch.autograd.grad(out.sum(), qkv))


def test_refuses_lists_for_another_call():
    qkv = random_qkv(2, 4, 2, 64, 64, 8)
    with pytest.raises(ValueError, match="are for 32 queries and 64 keys, but there are 64 and 64"):
        block_sparse.attend(*qkv, masks.causal().blocks(32, 64))
    with pytest.raises(ValueError, match="are for 1 sequences and 3 heads, but there are 2 and 4"):
        block_sparse.attend(*qkv, masks.dilated(1, (1, 2)).blocks(64, heads=3))


def test_auto_takes_it_for_a_long_sequence_of_which_little_is_kept(monkeypatch):
    from llmlib.attention import dispatch

    taken = []
    for name in ("sdpa", "block_sparse"):
        backend = dispatch._BACKENDS[name]
        monkeypatch.setitem(
            dispatch._BACKENDS, name, lambda *x, _b=backend, _n=name, **y: taken.append(_n) or _b(*x, **y)
        )
    long, short = (torch.zeros(1, 1, n, 4) for n in (2048, 512))
    table = torch.ones(2048, dtype=torch.bool)
    for x, mask in [
        (long, masks.window(64)),
        (long, None),
        (long, masks.causal()),
        (long, masks.window(1000)),
        (short, masks.window(64)),
        (long, masks.window(64) & Mask(lambda b, h, q_idx, kv_idx: table[kv_idx])),
    ]:
        attention(x, x, x, mask=mask)
    assert taken == ["block_sparse"] + 5 * ["sdpa"]
