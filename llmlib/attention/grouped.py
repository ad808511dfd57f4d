"""Attention within groups that the content chooses: sort by group, then attend block-sparsely (Chapter 5).

Hashing and clustering both put queries and keys into groups, and let a query see the keys of its own group. Members of
a group may lie anywhere. Sorted by group they lie side by side, and the mask becomes a row of squares along the
diagonal, which leaves most blocks empty.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from llmlib.attention.block_sparse import attend
from llmlib.attention.mask import Mask
from llmlib.attention.spans import Span


def same_group(q_groups: Int[Tensor, "R B H T"], k_groups: Int[Tensor, "R B G S"]) -> Bool[Tensor, "B H T S"]:
    """Which pairs are in one group in at least one of R rounds, with T · S entries: for study (Chapter 5).

    Args:
        q_groups: The group of each query in each round.
        k_groups: The group of each key.
    """
    k_groups = k_groups.repeat_interleave(q_groups.shape[2] // k_groups.shape[2], 2)
    return (q_groups[..., :, None] == k_groups[..., None, :]).any(0)


def attend_within_groups(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    q_groups: Int[Tensor, "R B H T"],
    k_groups: Int[Tensor, "R B G S"],
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    size: int = 64,
) -> Float[Tensor, "B H T D"]:
    """Attention of each query to the keys that are in its group in at least one round.

    A pair counts once, in the first round in which it meets, so that the rounds share out the pairs between them. Their
    outputs are put together by their sums of exponentials (Kitaev et al. 2020, arXiv:2001.04451, appendix A), and
    the result is exactly attention over all the pairs that met.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        q_groups: The group of each query in each of R rounds.
        k_groups: The group of each key.
        mask: Which keys a query may see besides; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        size: How many queries, and how many keys, make a block.

    Returns:
        A weighted mean of values for each query; 0 for one that meets no key.
    """
    rounds = [
        _attend_in_round(q, k, v, q_groups[: number + 1], k_groups[: number + 1], mask, scale, size)
        for number in range(len(q_groups))
    ]
    outs, lses = (torch.stack(parts) for parts in zip(*rounds, strict=True))
    nothing = (lses == -torch.inf).all(0)
    share = lses.masked_fill(nothing, 0).softmax(0)  # of each round in the sum of exponentials
    return (share[..., None] * outs).sum(0).to(q.dtype)


def _attend_in_round(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_groups: Tensor,
    k_groups: Tensor,
    mask: Mask | None,
    scale: float | None,
    size: int,
) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B H T"]]:
    """Attention to the keys that are in the query's group in the last round and were in none of those before."""
    q_order, k_order = (groups[-1].argsort(dim=-1, stable=True) for groups in (q_groups, k_groups))
    sorted_q, sorted_k, sorted_v = (
        x.take_along_dim(order[..., None], 2) for x, order in ((q, q_order), (k, k_order), (v, k_order))
    )
    q_groups, k_groups = q_groups.take_along_dim(q_order[None], 3), k_groups.take_along_dim(k_order[None], 3)
    shared = q.shape[1] // k.shape[1]

    def rule(b: Tensor, h: Tensor, q_idx: Any, kv_idx: Any) -> Any:
        queries, keys = (b, h, q_idx), (b, h // shared, kv_idx)
        allowed = _sorted_entry(q_groups[-1], queries) == _sorted_entry(k_groups[-1], keys)
        for before in range(len(q_groups) - 1):
            allowed = allowed & (_entry(q_groups[before], queries) != _entry(k_groups[before], keys))
        if mask is not None:
            allowed = allowed & mask.mask_mod(b, h, _entry(q_order, queries), _entry(k_order, keys))
        return allowed

    (B, H, T, _), S = q.shape, k.shape[2]  # noqa: N806
    lists = Mask(rule, "groups").blocks(T, S, size=size, batch=B, heads=H, device=q.device)
    out, lse = attend(sorted_q, sorted_k, sorted_v, lists, scale)
    back = q_order.argsort(-1)
    return out.take_along_dim(back[..., None], 2), lse.take_along_dim(back, 2)


def _sorted_entry(table: Tensor, index: tuple[Tensor, Tensor, Tensor | Span]) -> Any:
    """An entry of a table whose last axis is sorted; over a span of places it goes from the first to the last."""
    b, h, place = index
    if isinstance(place, Span):
        return Span(table[b, h, place.low], table[b, h, place.high])
    return table[b, h, place]


def _entry(table: Tensor, index: tuple[Tensor, Tensor, Tensor | Span]) -> Any:
    """An entry of any table; over a span of places it may be each that there is."""
    b, h, place = index
    if isinstance(place, Span):
        return Span(table.amin(-1)[b, h], table.amax(-1)[b, h])
    return table[b, h, place]
