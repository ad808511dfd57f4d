"""The mask: a rule that says which key each query may see (Chapter 3), and how it is written out (Chapter 5)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from llmlib.attention.block_lists import BlockLists, find_blocks

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
        constant: Whether the predicate gives the same answer for ever, as it does when it looks at nothing but
            its arguments: then its block lists are kept for the next call with this mask, so make it once, and
            not in every step. A predicate that looks at a tensor, which may change, is asked again.
    """

    mask_mod: MaskMod
    name: str = "mask"
    constant: bool = False

    def __and__(self, other: "Mask") -> "Mask":
        """What both masks allow."""
        ours, theirs = self.mask_mod, other.mask_mod
        return Mask(
            lambda b, h, q, kv: ours(b, h, q, kv) & theirs(b, h, q, kv),
            f"({self} & {other})",
            self.constant and other.constant,
        )

    def __or__(self, other: "Mask") -> "Mask":
        """What at least one of the masks allows."""
        ours, theirs = self.mask_mod, other.mask_mod
        return Mask(
            lambda b, h, q, kv: ours(b, h, q, kv) | theirs(b, h, q, kv),
            f"({self} | {other})",
            self.constant and other.constant,
        )

    def __invert__(self) -> "Mask":
        """What the mask hides."""
        ours = self.mask_mod
        return Mask(lambda b, h, q, kv: ~ours(b, h, q, kv), f"~{self}", self.constant)

    def __repr__(self) -> str:
        return self.name

    def in_blocks(self, size: int) -> "Mask":
        """The same rule for blocks of positions: it says which block each block of queries sees whole (Chapter 5).

        >>> masks.window(1).in_blocks(64)  # each block of 64 sees itself and the blocks beside it

        Args:
            size: The length of a block, at least 1.

        Raises:
            ValueError: The size is less than 1.
        """
        if size < 1:
            raise ValueError(f"A block needs at least 1 position, but got {size}.")
        rule = self.mask_mod
        return Mask(
            lambda b, h, q, kv: rule(b, h, q // size, kv // size),
            f"{self}.in_blocks({size})",
            self.constant,
        )

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
            ValueError: It looks up a table that is made for other lengths.
        """
        S = T if S is None else S  # noqa: N806
        b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
        h = torch.arange(heads, device=device).view(1, -1, 1, 1)
        q_idx = torch.arange(T, device=device).view(-1, 1)
        kv_idx = torch.arange(S, device=device)
        try:
            allowed = self.mask_mod(b, h, q_idx, kv_idx)
        except IndexError as error:
            raise self._other_lengths(T, S) from error
        if not isinstance(allowed, Tensor) or allowed.dtype != torch.bool:
            what = allowed.dtype if isinstance(allowed, Tensor) else type(allowed).__name__
            raise TypeError(f"The predicate of {self} must give a tensor of booleans, but gives {what}.")
        return allowed.expand(*allowed.shape[:-2], T, S)

    def blocks(
        self,
        T: int,  # noqa: N803
        S: int | None = None,  # noqa: N803
        *,
        size: int | tuple[int, int] = 64,
        batch: int = 1,
        heads: int = 1,
        device: torch.device | str | None = None,
    ) -> BlockLists:
        """Which blocks of queries need which blocks of keys, found without writing the mask out (Chapter 5).

        Args:
            T: How many queries there are.
            S: How many keys there are; by default T.
            size: How many queries and keys a block has, as one number or as two.
            batch: B, for a mask that differs between the sequences of a batch.
            heads: H, for a mask that differs between heads.
            device: Where the lists are made.

        Returns:
            The lists, for each sequence and head that the mask tells apart.

        Raises:
            ValueError: A size is less than 1, or the predicate looks up a table that is made for other lengths.
            TypeError: The predicate gives something other than booleans.
        """
        size = (size, size) if isinstance(size, int) else size
        if min(size) < 1:
            raise ValueError(f"A block needs at least 1 query and 1 key, but got size = {size}.")
        # The mask over one pair tells whether the predicate looks at b and h.
        one_pair = self.dense(1, 1, batch=batch, heads=heads, device=device)
        outer = (one_pair.shape[0], one_pair.shape[1]) if one_pair.dim() == 4 else (1, 1)
        S = T if S is None else S  # noqa: N806
        find = _kept_blocks if self.constant else find_blocks
        try:
            return find(self.mask_mod, (T, S), size, outer, torch.device(device or "cpu"))
        except IndexError as error:
            raise self._other_lengths(T, S) from error

    def _other_lengths(self, T: int, S: int) -> ValueError:  # noqa: N803
        return ValueError(
            f"{self} looks up a table that has no entry for some of {T} queries and {S} keys: it is made for other "
            "lengths, or for another number of sequences or heads."
        )


# A model asks for the same lists in each layer and each step.
_kept_blocks = functools.lru_cache(maxsize=64)(find_blocks)
