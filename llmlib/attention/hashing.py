"""Reformer: a query looks only at the keys with which it shares a hash (Chapter 5).

Kitaev et al. 2020, arXiv:2001.04451. Softmax lives on the largest scores, and the largest scores belong to keys that
point where the query points. A locality-sensitive hash puts such vectors into one bucket, likely but not surely;
several rounds with other hashes find what one has missed.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.attention.grouped import attend_within_groups
from llmlib.attention.mask import Mask


def random_rotations(
    D: int,  # noqa: N803
    buckets: int,
    rounds: int = 1,
    *,
    seed: int = 0,
) -> Float[Tensor, "R D half"]:
    """The random matrices of the hash, one for each round, with entries from a normal distribution.

    Args:
        D: Width of a head.
        buckets: How many buckets there are: an even number.
        rounds: R, how many hashes there are.
        seed: Another seed gives other hashes.

    Raises:
        ValueError: The number of buckets is not even and positive, or there is no round.
    """
    if buckets < 2 or buckets % 2:
        raise ValueError(
            f"Each direction of a rotation gives two buckets, so their number must be even, not {buckets}."
        )
    if rounds < 1:
        raise ValueError(f"Hashing needs at least 1 round, but got rounds = {rounds}.")
    return torch.randn(rounds, D, buckets // 2, generator=torch.Generator().manual_seed(seed))


def lsh_buckets(x: Float[Tensor, "B H T D"], rotations: Float[Tensor, "R D half"]) -> Int[Tensor, "R B H T"]:
    """The bucket of each vector in each round: the direction, of all ±, in which the rotated vector is longest.

    Kitaev et al. 2020, section 2: h(x) = argmax [xR; −xR] (Andoni et al. 2015, arXiv:1509.02897). It depends on the
    direction of x and not on its length (Chapter 5).

    Args:
        x: Queries or keys.
        rotations: From :func:`random_rotations`.
    """
    rotated = x[None] @ rotations.to(x)[:, None, None]
    return torch.cat([rotated, -rotated], dim=-1).argmax(-1)


def shared_keys(q: Float[Tensor, "B H T D"]) -> Float[Tensor, "B H T D"]:
    """The keys of a Reformer: its queries, with length 1, so that a token has one bucket and not two.

    Kitaev et al. 2020, section 2 (Chapter 5). A token is nearest to itself, so hide it: ``mask=~masks.window(0)``.
    """
    return torch.nn.functional.normalize(q, dim=-1)


def lsh_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    buckets: int,
    rounds: int = 1,
    mask: Mask | None = None,
    scale: float | None = None,
    seed: int = 0,
) -> Float[Tensor, "B H T D"]:
    """Attention of each query to the keys of its bucket, over several rounds of hashing (Chapter 5).

    The whole bucket is attended to, however many it holds. (A Reformer cuts the sorted sequence into chunks of equal
    length and attends within a chunk and to the one before: that bounds the work and loses the rest of a bucket.)
    The choice of the bucket has no gradient.

    Args:
        q: Queries.
        k: Keys; a Reformer takes ``shared_keys(q)``.
        v: Values.
        buckets: How many buckets there are: an even number.
        rounds: How many hashes are used.
        mask: Which keys a query may see besides; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        seed: Another seed gives other hashes.

    Returns:
        A weighted mean of values for each query; 0 for one whose buckets hold no key.

    Raises:
        ValueError: The number of buckets is not even and positive, or there is no round.
    """
    rotations = random_rotations(q.shape[-1], buckets, rounds, seed=seed)
    groups = [lsh_buckets(x.detach(), rotations) for x in (q, k)]
    return attend_within_groups(q, k, v, *groups, mask=mask, scale=scale)
