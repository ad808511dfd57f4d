"""Sparse attention that is executed sparsely: only the blocks that a mask keeps are ever computed (Chapter 5).

Each block of queries gathers the blocks of keys and values that it needs and attends to them as in dense attention:
small matrix products, which every device does well. Time and memory are proportional to the kept blocks. The backward
pass computes the weights again, from the largest score of each row and its sum of exponentials, so that they need not
be kept (Dao et al. 2022, arXiv:2205.14135, section 3.1).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmlib.attention.block_lists import BlockLists
from llmlib.attention.kinds import full
from llmlib.attention.mask import Mask

SCORES_AT_ONCE = 2**20  # 4 MiB of them: little memory, and they stay near the processor


def block_sparse(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
    size: int = 64,
) -> Float[Tensor, "B H T D"]:
    """Attention over the blocks that the mask keeps, on any device, forward and backward.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: Which keys each query may see; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        size: How many queries, and how many keys, make a block.
    """
    mask = mask or full()
    lists = mask.blocks(
        q.shape[2], k.shape[2], size=size, batch=q.shape[0], heads=q.shape[1], device=q.device
    )
    return attend(q, k, v, lists, scale)[0]


def attend(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    lists: BlockLists,
    scale: float | None = None,
) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B H T"]]:
    """Attention over the blocks of the lists.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        lists: From :meth:`Mask.blocks <llmlib.attention.mask.Mask.blocks>`, for these lengths.
        scale: The factor of q · k; by default 1/√D.

    Returns:
        The mean of values for each query, and the logarithm of the sum of the exponentials of its scores: with it,
        attention over two sets of keys can be put together. It is -∞ for a query that sees nothing.

    Raises:
        ValueError: The lists are for other lengths, or for another number of sequences or heads.
    """
    (B, H, T, D), (_, G, S, _) = q.shape, k.shape  # noqa: N806
    if lists.lengths != (T, S):
        raise ValueError(
            f"The block lists are for {lists.lengths[0]} queries and {lists.lengths[1]} keys, but there are {T} and "
            f"{S}: make them with mask.blocks({T}, {S})."
        )
    if lists.counts.shape[0] not in (1, B) or lists.counts.shape[1] not in (1, H):
        raise ValueError(
            f"The block lists are for {lists.counts.shape[0]} sequences and {lists.counts.shape[1]} heads, but there "
            f"are {B} and {H}: make them with mask.blocks({T}, {S}, batch={B}, heads={H})."
        )
    if lists.counts.shape[1] != 1 and G != H:  # heads that see different keys cannot share the work
        k, v, G = k.repeat_interleave(H // G, 1), v.repeat_interleave(H // G, 1), H  # noqa: N806
    scale = 1 / math.sqrt(D) if scale is None else scale
    out, lse = _BlockSparse.apply(
        _cut(q, G, lists.size[0]), _cut(k, G, lists.size[1]), _cut(v, G, lists.size[1]), lists, (B, G), scale
    )
    return _join(out, (B, G, H // G, T, D)), _join(lse[..., None], (B, G, H // G, T, 1))[..., 0]


def _cut(x: Float[Tensor, "B H T D"], groups: int, size: int) -> Float[Tensor, "rows length D"]:
    """Cut sequences into blocks; the heads that share keys (H / groups of them) lie in one block together."""
    x = F.pad(x, (0, 0, 0, -x.shape[2] % size))
    x = x.unflatten(1, (groups, x.shape[1] // groups)).unflatten(3, (x.shape[2] // size, size))
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # of (B, G, H/G, blocks, size, D)


def _join(
    x: Float[Tensor, "rows length D"], shape: tuple[int, int, int, int, int]
) -> Float[Tensor, "B H T D"]:
    """What :func:`_cut` has cut, put together again."""
    B, G, shared, T, D = shape  # noqa: N806
    x = x.view(B, G, len(x) // (B * G), shared, x.shape[1] // shared, D)
    return x.transpose(2, 3).flatten(3, 4)[..., :T, :].flatten(1, 2)


class _Chunk(NamedTuple):
    """Some rows of the lists that keep equally many blocks."""

    rows: Int[Tensor, " rows"]
    columns: Int[Tensor, "rows kept"]
    full: int
    pattern: Int[Tensor, "rows partial"]


def _chunks(lists: BlockLists, outer: tuple[int, int], scores: int) -> Iterator[_Chunk]:
    """Take the rows of all sequences and heads, those with equally many full and partial blocks together.

    Args:
        lists: The lists, or the transposed ones.
        outer: (B, G), the sequences and heads that they are to serve.
        scores: How many scores a block has.
    """
    (batch, heads, rows), device = lists.counts.shape, lists.counts.device
    others = -(-lists.lengths[1] // lists.size[1])
    group = torch.arange(outer[0] * outer[1], device=device)
    listed = group // outer[1] % batch * heads + group % outer[1] % heads
    row_of_list = (listed[:, None] * rows + torch.arange(rows, device=device)).flatten()
    first_column = (group * others).repeat_interleave(rows)
    begin = lists.offsets[row_of_list].long()
    kind = torch.stack([lists.full.flatten(), lists.counts.flatten()], dim=1)[row_of_list]
    kinds, kind_of_row, number = kind.unique(dim=0, return_inverse=True, return_counts=True)
    order = kind_of_row.argsort(stable=True)
    for (whole, kept), rows_of_kind in zip(kinds.tolist(), order.split(number.tolist()), strict=True):
        if kept == 0:
            continue
        for part in rows_of_kind.split(max(1, SCORES_AT_ONCE // (kept * scores))):
            entries = begin[part, None] + torch.arange(kept, device=device)
            columns = lists.columns[entries] + first_column[part, None]
            yield _Chunk(part, columns, whole, lists.pattern[entries[:, whole:]])


class _BlockSparse(torch.autograd.Function):
    """The computation on blocks: q (rows, shared · size, D), k and v (columns, size, D)."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, lists: BlockLists, outer: tuple[int, int], scale: float
    ) -> tuple[Tensor, Tensor]:
        out = torch.zeros_like(q)
        largest, total = q.new_zeros(2, *q.shape[:2], dtype=torch.promote_types(q.dtype, torch.float32))
        for chunk in _chunks(lists, outer, q.shape[1] * k.shape[1]):
            values = v[chunk.columns].flatten(1, 2)
            scores = _row_scores(q, k, chunk, lists, scale)
            top = scores.amax(-1)
            top.masked_fill_(top == -math.inf, 0)  # else a query that sees nothing would get NaN
            weights = scores.sub_(top[..., None]).exp_()
            sums = weights.sum(-1)  # at least 1, or 0 where nothing is seen
            mean = (weights.to(v.dtype) @ values) / sums.clamp(min=1)[..., None]
            out[chunk.rows], largest[chunk.rows], total[chunk.rows] = mean.to(v.dtype), top, sums
        ctx.save_for_backward(q, k, v, out, largest, total)
        ctx.lists, ctx.outer, ctx.scale = lists, outer, scale
        return out, largest + total.log()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor, d_lse: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, out, largest, total = ctx.saved_tensors
        largest, share, offset = (
            x[..., None]
            for x in (largest, 1 / total.clamp(min=1), d_lse - (d_out.to(d_lse.dtype) * out).sum(-1))
        )
        dq, dk, dv = (torch.zeros_like(x) for x in (q, k, v))
        # Once over the queries, once over the keys: each result is written once, in one order, on every device.
        for chunk in _chunks(ctx.lists, ctx.outer, q.shape[1] * k.shape[1]):
            rows = chunk.rows
            keys, values = (x[chunk.columns].flatten(1, 2) for x in (k, v))
            scores = _row_scores(q, k, chunk, ctx.lists, ctx.scale)
            weights = scores.sub_(largest[rows]).exp_().mul_(share[rows])
            d_scores = weights.mul_(d_out[rows] @ values.mT + offset[rows])
            dq[rows] = (d_scores.to(k.dtype) @ keys).mul_(ctx.scale)
        for chunk in _chunks(ctx.lists.transposed, ctx.outer, q.shape[1] * k.shape[1]):
            rows = chunk.rows
            of_queries = (x[chunk.columns].flatten(1, 2) for x in (q, d_out, largest, share, offset))
            queries, d_outs, tops, shares, offsets = of_queries
            scores = _column_scores(queries, k[rows], chunk, ctx.lists, ctx.scale)
            weights = scores.sub_(tops).exp_().mul_(shares)
            dv[rows] = weights.to(v.dtype).mT @ d_outs
            d_scores = weights.mul_(d_outs @ v[rows].mT + offsets)
            dk[rows] = (d_scores.to(q.dtype).mT @ queries).mul_(ctx.scale)
        return dq, dk, dv, None, None, None


def _row_scores(
    q: Tensor, k: Tensor, chunk: _Chunk, lists: BlockLists, scale: float
) -> Float[Tensor, "rows queries kept_keys"]:
    """The scores of blocks of queries with all the keys that they need, -∞ where a pattern hides the key."""
    scores = _product(q[chunk.rows], k[chunk.columns].flatten(1, 2), scale)
    hidden = ~lists.patterns[chunk.pattern]  # (rows, partial, size, size)
    blocks = scores.view(len(scores), -1, hidden.shape[2], chunk.columns.shape[1], hidden.shape[3])
    blocks[:, :, :, chunk.full :].masked_fill_(hidden.transpose(1, 2)[:, None], -math.inf)
    return scores


def _column_scores(
    queries: Tensor, keys: Tensor, chunk: _Chunk, lists: BlockLists, scale: float
) -> Float[Tensor, "rows kept_queries keys"]:
    """The scores of all the queries that need them with blocks of keys, -∞ where a pattern hides the key."""
    scores = _product(queries, keys, scale)
    hidden = ~lists.patterns[chunk.pattern]
    blocks = scores.view(len(scores), chunk.columns.shape[1], -1, *hidden.shape[2:])
    blocks[:, chunk.full :].masked_fill_(hidden[:, :, None], -math.inf)
    return scores


def _product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """The products of the rows of a and b, scaled, for further work in at least single precision."""
    product = torch.baddbmm(a.new_zeros(()), a, b.mT, beta=0, alpha=scale)
    return product.to(torch.promote_types(a.dtype, torch.float32))
