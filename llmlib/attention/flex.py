"""PyTorch's FlexAttention as a backend: a mask compiled into a kernel (Chapter 5).

Dong et al. 2024, arXiv:2412.05496. It takes the predicate as it is; the blocks that it need not visit are those of our
own block lists, which are found without writing the mask out.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.attention.bias import Bias
from llmlib.attention.block_lists import BlockLists
from llmlib.attention.kinds import full
from llmlib.attention.mask import Mask

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128  # FlexAttention's own


def flex(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention by a compiled kernel of FlexAttention. The first call for a mask takes the time to compile it.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        mask: Which keys each query may see; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        bias: What is added to the scores; None for nothing. It is compiled into the kernel.

    Raises:
        ValueError: Gradients are wanted on the CPU, where FlexAttention has none.
    """
    if not q.is_cuda and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError(
            f"FlexAttention computes no gradients on the {q.device.type}: use the backend 'block_sparse' or 'sdpa', or "
            "call it under torch.no_grad()."
        )
    block_mask = None
    if mask is not None and mask != full():
        lists = mask.blocks(
            q.shape[2], k.shape[2], size=BLOCK, batch=q.shape[0], heads=q.shape[1], device=q.device
        )
        block_mask = as_block_mask(mask, lists)
    return _compiled()(
        q,
        k,
        v,
        score_mod=None if bias is None else _score_mod(bias),
        block_mask=block_mask,
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def as_block_mask(mask: Mask, lists: BlockLists) -> "BlockMask":
    """A mask and its block lists in the form that FlexAttention takes.

    Args:
        mask: The mask.
        lists: Its blocks, from :meth:`~llmlib.attention.mask.Mask.blocks`.
    """
    from torch.nn.attention.flex_attention import BlockMask  # slow to import

    partial = lists.pattern >= 0
    return BlockMask.from_kv_blocks(
        *_padded(lists, partial),
        *_padded(lists, ~partial),
        BLOCK_SIZE=lists.size,
        mask_mod=mask.mask_mod,
        seq_lengths=lists.lengths,
    )


@functools.lru_cache(maxsize=64)
def _score_mod(bias: Bias) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """The bias in FlexAttention's signature; one function for each, for a new one would be compiled anew."""
    rule = bias.bias_mod
    return lambda score, b, h, q_idx, kv_idx: score + rule(b, h, q_idx, kv_idx)


def _padded(lists: BlockLists, chosen: Tensor) -> tuple[Int[Tensor, "b h N"], Int[Tensor, "B_ H_ N columns"]]:
    """How many of the chosen entries each row has, and which: a row for each, filled up with 0."""
    shape, columns = lists.counts.shape, -(-lists.lengths[1] // lists.size[1])
    row = lists.rows()[chosen]
    counts = row.bincount(minlength=shape.numel())
    place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
    indices = row.new_zeros((shape.numel(), columns), dtype=torch.int32)
    indices[row, place] = lists.columns[chosen]
    return counts.int().view(shape), indices.view(*shape, columns)


@functools.cache
def _compiled():  # type: ignore[no-untyped-def]
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
