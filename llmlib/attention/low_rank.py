"""Attention of low rank: Linformer shortens the sequence of keys, Performer replaces the softmax (Chapter 5).

Neither leaves pairs out. Both write the T × S matrix of weights, approximately, as a product of two thin ones, so that
it need never be made.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.attention.dense import reference


def random_projection(
    S: int,  # noqa: N803
    rank: int,
    *,
    seed: int = 0,
) -> Float[Tensor, "rank S"]:
    """A projection along the sequence with normal entries of variance 1/rank, which keeps products on average.

    Wang et al. 2020, arXiv:2006.04768, who learn theirs (Chapter 5).

    Args:
        S: How many keys there are.
        rank: How many are left.
        seed: Another seed gives another projection.
    """
    return torch.randn(rank, S, generator=torch.Generator().manual_seed(seed)) / math.sqrt(rank)


def mean_pooling(
    S: int,  # noqa: N803
    rank: int,
) -> Float[Tensor, "rank S"]:
    """A projection that needs no training: each row is the mean of a stretch of positions; exact where rank = S.

    Wang et al. 2020, arXiv:2006.04768, section 4, names pooling as another choice (Chapter 5).

    Args:
        S: How many keys there are.
        rank: How many stretches they are cut into, 1 to S, as equal as can be.

    Raises:
        ValueError: The rank is not 1 to S.
    """
    if not 1 <= rank <= S:
        raise ValueError(f"The rank must be 1 to {S}, the number of keys, but is {rank}.")
    stretch = torch.arange(S) * rank // S
    members = (stretch == torch.arange(rank)[:, None]).float()
    return members / members.sum(1, keepdim=True)


def linformer(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    projection: Float[Tensor, "rank S"],
    value_projection: Float[Tensor, "rank S"] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention to a few mixtures of keys in place of the keys: softmax(Q (E K)ᵀ · scale) F V (Chapter 5).

    Wang et al. 2020, arXiv:2006.04768, equation 7. Time and memory grow as T · rank. A mixture holds later positions,
    too, so a Linformer cannot be causal; and it is made for one length.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        projection: E, learned in a Linformer.
        value_projection: F; by default E.
        scale: The factor of the scores; by default 1/√D.

    Raises:
        ValueError: A projection is made for another number of keys.
    """
    projections = projection, projection if value_projection is None else value_projection
    for matrix in projections:
        if matrix.shape[1] != k.shape[2]:
            raise ValueError(
                f"The projection {tuple(matrix.shape)} is made for {matrix.shape[1]} keys, but there are {k.shape[2]}: "
                "a Linformer knows one length only."
            )
    few_k, few_v = (matrix.to(x) @ x for matrix, x in zip(projections, (k, v), strict=True))
    return reference(q, few_k, few_v, mask=None, scale=scale)


def orthogonal_features(
    D: int,  # noqa: N803
    rank: int,
    *,
    seed: int = 0,
) -> Float[Tensor, "rank D"]:
    """The random directions of a Performer, at right angles to each other in groups of D, of normal lengths.

    Choromanski et al. 2020, arXiv:2009.14794, section 2.4. Right angles lower the variance (Chapter 5).

    Args:
        D: Width of a head.
        rank: How many there are.
        seed: Another seed gives others.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randn(-(-rank // D), D, D, generator=generator)
    q, r = torch.linalg.qr(groups)
    # Else some directions would come more often than others.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]
    directions = q.mT.flatten(0, 1)[:rank]
    return directions * torch.randn(rank, D, generator=generator).norm(dim=1, keepdim=True)


def performer(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    features: Float[Tensor, "rank D"],
    *,
    causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention with exp(q · k · scale) replaced by a product φ(q) · φ(k), which needs no T · S weights (Chapter 5).

    Choromanski et al. 2020, arXiv:2009.14794, lemma 1 (FAVOR+): with random w,
    φ(x) = exp(w · x − ‖x‖²/2) / √rank has the right mean, and being positive it cannot make a weight negative. Time and
    memory grow as T · rank.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        features: The w, from :func:`orthogonal_features`.
        causal: Whether a query sees no later position.
        scale: The factor of q · k; by default 1/√D.

    Raises:
        ValueError: It is to be causal, but T and S differ.
    """
    if causal and q.shape[2] != k.shape[2]:
        raise ValueError(
            f"A causal Performer needs as many queries as keys, but there are {q.shape[2]} and {k.shape[2]}."
        )
    shared = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
    root = math.sqrt(1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    # A factor that is common to all keys, or to one query, drops out: so the largest feature can be made 1.
    of_q, of_k = (_log_features(x * root, features) for x in (q, k))
    of_q = (of_q - of_q.amax(-1, keepdim=True)).exp()
    of_k = (of_k - of_k.amax((-2, -1), keepdim=True)).exp()
    with_one = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)  # the last column sums up the weights
    sums = _causal_product(of_q, of_k, with_one) if causal else of_q @ (of_k.mT @ with_one)
    return sums[..., :-1] / sums[..., -1:].clamp(min=torch.finfo(sums.dtype).tiny)


def _log_features(x: Tensor, features: Tensor) -> Float[Tensor, "B H T rank"]:
    return x @ features.to(x).mT - x.square().sum(-1, keepdim=True) / 2


def _causal_product(q: Tensor, k: Tensor, v: Tensor, *, size: int = 64) -> Tensor:
    """The lower triangle of q kᵀ times v: within a block as it is, and over earlier blocks by their running sum."""
    memory, parts = q.new_zeros(*q.shape[:2], k.shape[-1], v.shape[-1]), []
    for q_block, k_block, v_block in zip(*(x.split(size, dim=2) for x in (q, k, v)), strict=True):
        parts.append(q_block @ memory + (q_block @ k_block.mT).tril() @ v_block)
        memory = memory + k_block.mT @ v_block
    return torch.cat(parts, dim=2)
