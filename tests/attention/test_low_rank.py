"""Linformer and Performer: exact where they must be, near where they may be."""

import pytest
import torch

from llmlib.attention import attention, masks
from llmlib.attention.low_rank import (
    linformer,
    mean_pooling,
    orthogonal_features,
    performer,
    random_projection,
)


def random_qkv(h=4, g=4, t=50, s=60, d=8):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, h, t, d), (2, g, s, d), (2, g, s, d)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def error(found, exact):
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_linformer_of_full_rank_is_exact(kv_heads):
    q, k, v = random_qkv(g=kv_heads)
    exact = attention(q, k, v, scale=0.5)
    torch.testing.assert_close(linformer(q, k, v, mean_pooling(60, 60), scale=0.5), exact)
    reordered = torch.eye(60)[torch.randperm(60)]
    torch.testing.assert_close(linformer(q, k, v, reordered, scale=0.5), exact)


def test_linformer_is_the_formula_of_the_paper():
    q, k, v = random_qkv()
    e, f = (random_projection(60, 10, seed=seed).double() for seed in (0, 1))
    expected = torch.softmax(q @ (e @ k).mT / 8**0.5, dim=-1) @ (f @ v)
    torch.testing.assert_close(linformer(q, k, v, e, f), expected)


def test_pooling_averages_stretches_of_equal_length():
    assert mean_pooling(6, 3).tolist() == [
        [0.5, 0.5, 0, 0, 0, 0],
        [0, 0, 0.5, 0.5, 0, 0],
        [0, 0, 0, 0, 0.5, 0.5],
    ]
    uneven = mean_pooling(7, 3)
    torch.testing.assert_close(uneven.sum(1), torch.ones(3))
    assert ((uneven > 0).sum(0) == 1).all()


def test_a_random_projection_keeps_products_on_average():
    x, y = torch.randn(2, 40)
    products = torch.stack(
        [(p @ x) @ (p @ y) for p in (random_projection(40, 20, seed=s) for s in range(400))]
    )
    assert abs(products.mean() - x @ y) < 5 * products.std() / 20


def test_random_features_stand_at_right_angles_in_groups():
    features = orthogonal_features(8, 20)
    gram = features @ features.T
    for group in (slice(0, 8), slice(8, 16), slice(16, 20)):
        inner = gram[group, group]
        torch.testing.assert_close(inner, inner.diag().diag(), atol=1e-4, rtol=0)
    # χ² with 8 degrees of freedom: mean 8, variance 16.
    lengths = orthogonal_features(8, 4000).square().sum(1)
    assert abs(lengths.mean() - 8) < 5 * (16 / 4000) ** 0.5


def test_the_features_estimate_the_exponential_without_bias():
    x, y = 0.6 * torch.randn(2, 8, dtype=torch.float64)
    estimates = []
    for seed in range(400):
        w = orthogonal_features(8, 256, seed=seed).double()
        of_x, of_y = ((w @ z - z @ z / 2).exp() for z in (x, y))
        estimates.append((of_x * of_y).mean())
    estimates = torch.stack(estimates)
    assert abs(estimates.mean() - (x @ y).exp()) < 5 * estimates.std() / 20


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_performer_comes_nearer_with_more_features(causal, kv_heads):
    q, k, v = random_qkv(g=kv_heads, t=150, s=150)
    exact = attention(q, k, v, mask=masks.causal() if causal else None, scale=0.05)
    errors = []
    for rank in (8, 128, 2048):
        features = [orthogonal_features(8, rank, seed=seed) for seed in range(5)]
        found = [performer(q, k, v, w, causal=causal, scale=0.05) for w in features]
        errors.append(sum(error(each, exact) for each in found) / 5)
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.06


def test_a_causal_performer_sees_nothing_that_comes_later():
    q, k, v = random_qkv(t=150, s=150)
    features = orthogonal_features(8, 16)
    out = performer(q, k, v, features, causal=True)
    k[:, :, 100:], v[:, :, 100:] = 9, 9
    changed = performer(q, k, v, features, causal=True)
    torch.testing.assert_close(changed[:, :, :100], out[:, :, :100])
    torch.testing.assert_close(out[:, :, 0], v[:, :, 0])


def test_performer_survives_huge_queries_and_keys():
    q, k, v = random_qkv()
    out = performer(30 * q, 30 * k, v, orthogonal_features(8, 64))
    assert out.isfinite().all()


@pytest.mark.usefixtures("unchecked")
def test_refuses_what_does_not_fit():
    q, k, v = random_qkv()
    with pytest.raises(ValueError, match="made for 50 keys, but there are 60"):
        linformer(q, k, v, random_projection(50, 8))
    with pytest.raises(ValueError, match="must be 1 to 60, the number of keys, but is 61"):
        mean_pooling(60, 61)
    with pytest.raises(ValueError, match="as many queries as keys, but there are 50 and 60"):
        performer(q, k, v, orthogonal_features(8, 8), causal=True)
