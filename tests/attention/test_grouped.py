"""Attention by content: exactly attention over the pairs that met; and the pairs are the right ones."""

import itertools

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.attention import masks
from llmlib.attention.clustering import nearest_cluster, routing_attention, spherical_kmeans
from llmlib.attention.grouped import attend_within_groups, same_group
from llmlib.attention.hashing import lsh_attention, lsh_buckets, random_rotations, shared_keys


def random_qkv(h, g, t, s, d=8):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, h, t, d), (2, g, s, d), (2, g, s, d)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes
    ]


def dense(q, k, v, pairs):
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, pairs)


@pytest.mark.parametrize("mask", [None, masks.causal(), ~masks.window(0)], ids=str)
@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("shape", [(4, 4, 100, 100), (4, 2, 61, 130)])
def test_is_attention_over_the_pairs_that_met(shape, rounds, mask):
    q, k, v = random_qkv(*shape)
    groups = [torch.randint(0, 7, (rounds, *x.shape[:3])) for x in (q, k)]
    found = attend_within_groups(q, k, v, *groups, mask=mask, size=16)
    met = torch.zeros(2, shape[0], *shape[2:], dtype=torch.bool)
    for of_q, of_k in zip(*groups, strict=True):
        for h in range(shape[0]):
            met[:, h] |= of_q[:, h, :, None] == of_k[:, h * shape[1] // shape[0], None, :]
    assert torch.equal(same_group(*groups), met)
    if mask is not None:
        met &= mask.dense(*shape[2:])
    expected = dense(q, k, v, met)
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    for ours, theirs in zip(
        torch.autograd.grad(found, (q, k, v), probe),
        torch.autograd.grad(expected, (q, k, v), probe),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_query_whose_group_holds_no_key_gets_zero_and_finite_gradients():
    q, k, v = random_qkv(1, 1, 4, 5)
    groups = torch.tensor([0, 1, 1, 3]).expand(2, 2, 1, 4), torch.tensor([1, 1, 2, 1, 0]).expand(2, 2, 1, 5)
    out = attend_within_groups(q, k, v, *groups)
    assert (out[:, :, 3] == 0).all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.sum(), (q, k, v)))


def test_vectors_share_a_hash_the_more_likely_the_smaller_their_angle():
    x = torch.tensor([1.0, 0, 0, 0])
    angles = torch.tensor([0.0, 0.2, 0.6, 1.2, 3.14159])
    others = torch.stack([angles.cos(), angles.sin(), 0 * angles, 0 * angles], dim=-1)
    rotations = random_rotations(4, 8, 2000, seed=1)
    share = (
        (lsh_buckets(x.expand(1, 1, 1, 4), rotations) == lsh_buckets(others[None, None], rotations))
        .double()
        .mean((0, 1, 2))
    )
    assert share[0] == 1
    assert share[-1] == 0
    assert (share.diff() < -0.05).all()


def test_a_hash_is_the_nearest_direction_and_ignores_length():
    x, rotations = torch.randn(2, 3, 50, 8), random_rotations(8, 6, 4)
    buckets = lsh_buckets(x, rotations)
    assert torch.equal(buckets, lsh_buckets(7 * x, rotations))
    for number, rotation in enumerate(rotations):
        directions = torch.cat([rotation, -rotation], dim=1).T
        nearest = torch.cdist(directions, x[1, 2]).square() - directions.square().sum(1, keepdim=True)
        assert torch.equal(buckets[number, 1, 2], nearest.argmin(0))


def test_a_reformer_hashes_a_token_as_query_and_as_key_alike():
    q = random_qkv(2, 2, 60, 60)[0]
    keys, rotations = shared_keys(q), random_rotations(8, 8, 2)
    torch.testing.assert_close(keys.norm(dim=-1), torch.ones(2, 2, 60).double())
    assert torch.equal(lsh_buckets(q, rotations), lsh_buckets(keys, rotations))
    out = lsh_attention(q, keys, q, buckets=8, rounds=2, seed=0, mask=~masks.window(0))
    pairs = same_group(*2 * [lsh_buckets(q, rotations)]) & ~masks.window(0).dense(60)
    torch.testing.assert_close(out, dense(q, keys, q, pairs))


def test_kmeans_finds_the_clusters_that_are_there():
    centres = F.normalize(torch.eye(6)[:4] + 0.1, dim=-1)
    member = torch.arange(200) % 4
    x = centres[member] * torch.rand(200, 1).add(0.5) + 0.02 * torch.randn(200, 6)
    best = max(
        (spherical_kmeans(x[None], 4, seed=seed) for seed in range(5)),
        key=lambda found: float((F.normalize(x, dim=-1) @ found[0].T).amax(1).sum()),
    )
    assert (centres @ best[0].T).amax(1).min() > 0.99
    clusters = nearest_cluster(x[None, None], best)[0, 0]
    assert torch.equal(clusters[:, None] == clusters, member[:, None] == member)


def test_kmeans_never_loses_in_an_iteration():
    x = torch.randn(2, 80, 5)
    fit = [
        (F.normalize(x, dim=-1) @ spherical_kmeans(x, 7, iterations=n).mT).amax(-1).sum() for n in range(9)
    ]
    assert all(after >= before - 1e-4 for before, after in itertools.pairwise(fit))
    assert fit[-1] > fit[0]


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_routing_attends_within_clusters(heads):
    q, k, v = random_qkv(*heads, 70, 90)
    centroids = spherical_kmeans(k[0].detach(), 5)
    pairs = same_group(*(nearest_cluster(x, centroids)[None] for x in (q, k)))
    found = routing_attention(q, k, v, clusters=5, centroids=centroids)
    torch.testing.assert_close(found, dense(q, k, v, pairs))
    assert routing_attention(q, k, v, clusters=3, mask=masks.causal()).isfinite().all()
    torch.testing.assert_close(
        routing_attention(q, k, v, clusters=1), dense(q, k, v, torch.ones(70, 90, dtype=torch.bool))
    )


def test_refuses_numbers_that_make_no_sense():
    q, k, v = random_qkv(1, 1, 4, 4)
    with pytest.raises(ValueError, match="must be even, not 3"):
        lsh_attention(q, k, v, buckets=3)
    with pytest.raises(ValueError, match="rounds = 0"):
        lsh_attention(q, k, v, buckets=4, rounds=0)
    with pytest.raises(ValueError, match="must be 1 to 16, the number of vectors, but is 17"):
        routing_attention(q, k, v, clusters=17)
