"""ALiBi: its slopes against Hugging Face's, its attention against PyTorch's, on every backend that takes a bias."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.attention import Bias, Mask, alibi, alibi_slopes, attention, attention_weights, dense, masks

CAUSAL = torch.ones(7, 7, dtype=torch.bool).tril()


def bloom(heads, length):
    """slope · key position, (H, 1, S): as Hugging Face's BLOOM adds it."""
    from transformers.models.bloom.modeling_bloom import build_alibi_tensor

    return build_alibi_tensor(torch.ones(1, length), heads, torch.float32).view(heads, 1, length)


def random_qkv(heads, groups, length, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, h, length, 4) for h in (heads, groups, groups)]
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(
    ("heads", "slopes"),
    [
        (1, [2**-8]),
        (2, [2**-4, 2**-8]),
        (3, [2**-4, 2**-8, 2**-2]),
        (
            8,
            [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
        ),  # the paper's example, section 3
        (12, [*(2**-i for i in range(1, 9)), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
    ],
)
def test_slopes_by_hand(heads, slopes):
    torch.testing.assert_close(alibi_slopes(heads), torch.tensor(slopes), rtol=1e-6, atol=0)


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("heads", range(1, 41))
def test_slopes_are_those_of_hugging_face(heads):
    torch.testing.assert_close(alibi_slopes(heads), bloom(heads, 2)[:, 0, 1], rtol=2e-6, atol=0)


def test_the_bias_is_minus_slope_times_distance():
    bias = alibi(2).dense(3, heads=2)
    assert bias.shape == (1, 2, 3, 3)
    torch.testing.assert_close(bias[0, 0] * 16, torch.tensor([[0.0, -1, -2], [-1, 0, -1], [-2, -1, 0]]))


@pytest.mark.usefixtures("transformers")
@pytest.mark.parametrize("backend", ["reference", "sdpa", "auto"])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("scores_at_once", [2**22, 50])
def test_attention_and_gradients_are_those_of_pytorch_with_blooms_bias(
    backend, heads, groups, scores_at_once, monkeypatch
):
    """BLOOM adds slope · key position: the same up to a constant for each query, which the softmax drops."""
    monkeypatch.setattr(dense, "BIASES_AT_ONCE", scores_at_once)
    q, k, v = qkv = random_qkv(heads, groups, 7)
    added = bloom(heads, 7).double().expand(-1, 7, -1).masked_fill(~CAUSAL, float("-inf"))
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=added, scale=0.3, enable_gqa=True)
    found = attention(*qkv, mask=masks.causal(), scale=0.3, bias=alibi(heads), backend=backend)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # the slopes are of single precision
    probe = torch.randn_like(found)
    for mine, theirs in zip(
        torch.autograd.grad(found, qkv, probe), torch.autograd.grad(expected, qkv, probe), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize(
    "mask", [None, masks.window(3), Mask(lambda b, h, q_idx, kv_idx: kv_idx <= q_idx + h)]
)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_every_backend_adds_the_same(backend, mask):
    q, k, v = (torch.randn(2, h, t, 16) for h, t in ((4, 40), (2, 70), (2, 70)))
    bias = Bias(lambda b, h, q_idx, kv_idx: torch.sin(q_idx * 3.0 + kv_idx) * (h + 1) + b)
    with torch.compiler.set_stance("force_eager"):
        found = attention(q, k, v, mask=mask, bias=bias, backend=backend)
    torch.testing.assert_close(found, attention(q, k, v, mask=mask, bias=bias, backend="reference"))


def test_a_query_that_may_see_nothing_gets_zero():
    q, k, v = random_qkv(2, 2, 3)
    nothing_first = Mask(lambda b, h, q_idx, kv_idx: kv_idx < q_idx)
    out = attention(q, k, v, mask=nothing_first, bias=alibi(2))
    assert not out[:, :, 0].any()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), (q, k, v)))


def test_with_equal_contents_weights_fall_by_a_constant_factor_with_distance():
    weights = attention_weights(
        torch.zeros(1, 2, 5, 4), torch.zeros(1, 2, 5, 4), mask=masks.causal(), bias=alibi(2)
    )
    ratio = weights[0, :, 4, :-1] / weights[0, :, 4, 1:]
    torch.testing.assert_close(ratio, torch.exp(torch.tensor([[-1 / 16], [-1 / 256]])).expand(2, 4))


@pytest.mark.parametrize("backend", ["tiled", "block_sparse", "triton"])
def test_backends_without_a_bias_say_so(backend):
    x = torch.zeros(1, 2, 4, 16)
    with pytest.raises(
        ValueError, match=f"'{backend}' adds no bias.*alibi\\(2\\).*'reference', 'sdpa', 'flex'"
    ):
        attention(x, x, x, bias=alibi(2), backend=backend)


def test_refuses_what_is_no_bias():
    x = torch.zeros(1, 2, 4, 16)
    with pytest.raises(TypeError, match="The bias is a Tensor, not a Bias"):
        attention(x, x, x, bias=torch.zeros(4, 4))
    for function in (alibi, alibi_slopes):
        with pytest.raises(ValueError, match="at least 1 head, but heads = 0"):
            function(0)
