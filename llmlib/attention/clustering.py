"""Routing Transformer: a query looks only at the keys of its own cluster (Chapter 5).

Roy et al. 2021, arXiv:2003.05997. Where hashing cuts up the space at random, k-means learns where queries and keys lie.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.attention.grouped import attend_within_groups
from llmlib.attention.mask import Mask


def spherical_kmeans(
    x: Float[Tensor, "G n D"], clusters: int, *, iterations: int = 10, seed: int = 0
) -> Float[Tensor, "G clusters D"]:
    """Centroids of the directions of vectors, for each head on its own.

    Lloyd's iteration on the unit sphere: each vector goes to the centroid with the largest cosine, and each centroid to
    the mean of its vectors. One that has lost all stays where it is (Chapter 5).

    Args:
        x: The vectors.
        clusters: How many centroids there are, 1 to n.
        iterations: How often both steps are taken.
        seed: Decides which vectors the centroids start from.

    Raises:
        ValueError: There are fewer vectors than clusters, or no cluster.
    """
    heads, n, _ = x.shape
    if not 1 <= clusters <= n:
        raise ValueError(
            f"The number of clusters must be 1 to {n}, the number of vectors, but is {clusters}."
        )
    x = F.normalize(x, dim=-1)
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(heads, n, generator=generator).argsort(-1)[:, :clusters].to(x.device)
    centroids = x.take_along_dim(start[..., None], 1)
    for _ in range(iterations):
        members = F.one_hot((x @ centroids.mT).argmax(-1), clusters).to(x)  # (G, n, clusters)
        sums = members.mT @ x
        centroids = torch.where(members.any(1)[..., None], F.normalize(sums, dim=-1), centroids)
    return centroids


def nearest_cluster(
    x: Float[Tensor, "B H T D"], centroids: Float[Tensor, "G clusters D"]
) -> Int[Tensor, "B H T"]:
    """The cluster of each vector: the centroid with the largest cosine.

    Args:
        x: Queries or keys.
        centroids: From :func:`spherical_kmeans`, for each key head: they serve the H / G query heads that share it.
    """
    shared = x.shape[1] // len(centroids)
    return (x @ centroids.repeat_interleave(shared, 0).mT).argmax(-1)


def routing_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    clusters: int,
    centroids: Float[Tensor, "G clusters D"] | None = None,
    mask: Mask | None = None,
    scale: float | None = None,
    seed: int = 0,
) -> Float[Tensor, "B H T D"]:
    """Attention of each query to the keys of its cluster (Chapter 5).

    A cluster is attended to whole, however many it holds. (The paper's implementation
    gives every centroid the same number of its nearest queries and keys, for equal work.) With about √S clusters the
    work is proportional to S √S. The choice of the cluster has no gradient.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        clusters: How many clusters there are.
        centroids: Those of earlier steps of training; None finds them afresh for these queries and keys.
        mask: Which keys a query may see besides; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        seed: Decides where the search for centroids starts.

    Returns:
        A weighted mean of values for each query; 0 for one whose cluster holds no key.

    Raises:
        ValueError: There are fewer queries and keys than clusters, or no cluster.
    """
    if centroids is None:
        by_key_head = q.detach().unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # (B, G, H/G · T, D)
        vectors = torch.cat([F.normalize(x, dim=-1) for x in (by_key_head, k.detach())], dim=2)
        centroids = spherical_kmeans(vectors.transpose(0, 1).flatten(1, 2), clusters, seed=seed)
    groups = [nearest_cluster(x.detach(), centroids)[None] for x in (q, k)]
    return attend_within_groups(q, k, v, *groups, mask=mask, scale=scale)
