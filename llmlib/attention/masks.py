"""Masks: which key each query may see (Chapter 3).

A mask is a predicate ``(b, h, q_idx, kv_idx)``: may the query at position ``q_idx`` of head ``h`` in sequence
``b`` see the key at position ``kv_idx``? That is the signature of PyTorch's FlexAttention (Dong et al. 2024,
arXiv:2412.05496), which takes :attr:`Mask.mask_mod` as it is. Masks combine with ``&`` and ``|``:

>>> (masks.causal() & masks.block_local(2)).dense(4, 4).int()
tensor([[1, 0, 0, 0],
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 1, 1]], dtype=torch.int32)
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Mask:
    """A rule that says which key each query may see (Chapter 3).

    Make your own from any predicate that is written with tensor operations (``&`` and ``|``, not ``and`` and
    ``or``). One that hides padding, where ``lengths`` holds the length of each sequence of the batch:

    >>> padding = Mask(lambda b, h, q_idx, kv_idx: kv_idx < lengths[b], "padding")

    Attributes:
        mask_mod: The predicate ``(b, h, q_idx, kv_idx)`` on integer tensors, in FlexAttention's signature:
            true where the query may see the key.
        name: What the mask is called where it is shown.
    """

    mask_mod: MaskMod
    name: str = "mask"

    def __and__(self, other: "Mask") -> "Mask":
        """What both masks allow."""
        ours, theirs = self.mask_mod, other.mask_mod
        return Mask(lambda b, h, q, kv: ours(b, h, q, kv) & theirs(b, h, q, kv), f"({self} & {other})")

    def __or__(self, other: "Mask") -> "Mask":
        """What at least one of the masks allows."""
        ours, theirs = self.mask_mod, other.mask_mod
        return Mask(lambda b, h, q, kv: ours(b, h, q, kv) | theirs(b, h, q, kv), f"({self} | {other})")

    def __repr__(self) -> str:
        return self.name

    def dense(
        self,
        T: int,  # noqa: N803
        S: int | None = None,  # noqa: N803
        *,
        batch: int = 1,
        heads: int = 1,
        device: torch.device | str | None = None,
    ) -> Bool[Tensor, "... T S"]:
        """The mask written out, with T · S entries.

        Args:
            T: How many queries there are.
            S: How many keys there are; by default T.
            batch: B, for a mask that differs between the sequences of a batch.
            heads: H, for a mask that differs between heads.
            device: Where the result is made.

        Returns:
            True where the query (row) may see the key (column): (T, S) if the predicate looks at positions
            only, else (B or 1, H or 1, T, S).

        Raises:
            TypeError: The predicate gives something other than booleans.
        """
        S = T if S is None else S  # noqa: N806
        b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
        h = torch.arange(heads, device=device).view(1, -1, 1, 1)
        q_idx = torch.arange(T, device=device).view(-1, 1)
        kv_idx = torch.arange(S, device=device)
        allowed = self.mask_mod(b, h, q_idx, kv_idx)
        if not isinstance(allowed, Tensor) or allowed.dtype != torch.bool:
            what = allowed.dtype if isinstance(allowed, Tensor) else type(allowed).__name__
            raise TypeError(f"The predicate of {self} must give a tensor of booleans, but gives {what}.")
        return allowed.expand(*allowed.shape[:-2], T, S)


# These two are made once, so that a backend can know them again: they equal themselves and no other mask.
_FULL = Mask(lambda b, h, q_idx, kv_idx: kv_idx >= 0, "full()")
_CAUSAL = Mask(lambda b, h, q_idx, kv_idx: kv_idx <= q_idx, "causal()")


def full() -> Mask:
    """Every query sees every key: for an encoder, and for a decoder that reads one (Chapter 3)."""
    return _FULL


def causal() -> Mask:
    """No query sees a later position: the mask of a decoder (Chapter 3).

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3. Queries and keys are both counted from the start of
    the sequence, also where T and S differ.
    """
    return _CAUSAL


def prefix(n: int) -> Mask:
    """The prefix language model: the first n positions are seen by all, the rest is causal (Chapter 3).

    The source reads itself in both directions, the answer is written from left to right, in one stack (Raffel
    et al. 2020, arXiv:1910.10683, section 3.2.1).

    Args:
        n: The length of the prefix, at least 0.

    Raises:
        ValueError: n is negative.
    """
    if n < 0:
        raise ValueError(f"The prefix needs a length of at least 0, but got n = {n}.")
    return Mask(lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) | (kv_idx < n), f"prefix({n})")


def block_local(b: int) -> Mask:
    """Each query sees the keys of its own block of b positions, and no other (Chapter 5).

    Args:
        b: The length of a block, at least 1. The last block may be shorter.

    Raises:
        ValueError: b is less than 1.
    """
    if b < 1:
        raise ValueError(f"A block needs at least 1 position, but got b = {b}.")
    size = b
    return Mask(lambda b, h, q_idx, kv_idx: q_idx // size == kv_idx // size, f"block_local({b})")
