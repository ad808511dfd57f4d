"""The Triton kernel as a backend: causal and full attention, and any mask by its block lists (Chapter 6)."""

from weakref import WeakKeyDictionary

from jaxtyping import Float
from torch import Tensor

from llmlib.attention.block_lists import BlockLists
from llmlib.attention.kinds import causal, full
from llmlib.attention.mask import Mask
from llmlib.kernels import BlockMask, Walk, available, flash_attention, pack

BLOCK = 128
_PACKED: WeakKeyDictionary[BlockLists, BlockMask] = WeakKeyDictionary()


def flash(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
) -> Float[Tensor, "B H T D"]:
    """Attention by llmlib's own FlashAttention kernels, on a CUDA device.

    Args:
        q: Queries, of float32, float16 or bfloat16.
        k: Keys.
        v: Values.
        mask: Which keys each query may see; None for all of them.
        scale: The factor of q · k; by default 1/√D.

    Raises:
        ValueError: The kernels cannot serve: the tensors are not on a CUDA device, or of another dtype.
    """
    if not available(q):
        raise ValueError(
            f"The backend 'triton' needs Triton and float32, float16 or bfloat16 on a CUDA device, but q is {q.dtype} "
            f"on {q.device}: take 'tiled', the same algorithm in PyTorch, or 'sdpa'."
        )
    if mask in (None, full(), causal()):
        return flash_attention(q, k, v, causal=mask == causal(), scale=scale)
    lists = mask.blocks(
        q.shape[2], k.shape[2], size=BLOCK, batch=q.shape[0], heads=q.shape[1], device=q.device
    )
    if lists not in _PACKED:
        _PACKED[lists] = as_block_mask(lists)
    return flash_attention(q, k, v, block_mask=_PACKED[lists], scale=scale)


def as_block_mask(lists: BlockLists) -> BlockMask:
    """Block lists in the form that the kernels take.

    Args:
        lists: From :meth:`~llmlib.attention.mask.Mask.blocks`, with blocks of 64, 128, 256 ... queries and keys.
    """
    by_query, by_key = (
        Walk(part.offsets, part.full, part.columns, part.pattern) for part in (lists, lists.transposed)
    )
    return BlockMask(lists.lengths, by_query, by_key, pack(lists.patterns))
