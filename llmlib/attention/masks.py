"""Masks: which key each query may see (Chapters 3 and 5).

A mask is a predicate ``(b, h, q_idx, kv_idx)``: may the query at position ``q_idx`` of head ``h`` in sequence
``b`` see the key at position ``kv_idx``? That is the signature of PyTorch's FlexAttention (Dong et al. 2024,
arXiv:2412.05496), which takes :attr:`~llmlib.attention.mask.Mask.mask_mod` as it is. Masks combine with ``&``,
``|`` and ``~``:

>>> (masks.causal() & masks.block_local(2)).dense(4, 4).int()
tensor([[1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1]], dtype=torch.int32)
"""

from llmlib.attention.composites import bigbird, etc, longformer, star_transformer
from llmlib.attention.kinds import (
    block_local,
    causal,
    dilated,
    full,
    global_tokens,
    padding,
    prefix,
    random_blocks,
    window,
)
from llmlib.attention.mask import Mask

__all__ = [
    "Mask",
    "bigbird",
    "block_local",
    "causal",
    "dilated",
    "etc",
    "full",
    "global_tokens",
    "longformer",
    "padding",
    "prefix",
    "random_blocks",
    "star_transformer",
    "window",
]
