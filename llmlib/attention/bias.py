"""The bias: a number added to the score of a query and a key for where they stand, such as ALiBi's (Chapter 11)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

BiasMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Bias:
    """A rule that says what is added to the score of a query and a key (Chapter 11).

    Where a :class:`~llmlib.attention.mask.Mask` says yes or no, a bias says how much. It is fixed: no gradient
    reaches what it is made of.

    Attributes:
        bias_mod: The rule ``(b, h, q_idx, kv_idx)`` on integer tensors, as that of a mask: it gives numbers, which
            are added to the scaled score before the softmax.
        name: What the bias is called where it is shown.
    """

    bias_mod: BiasMod
    name: str = "bias"

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
    ) -> Float[Tensor, "... T S"]:
        """The bias written out.

        Args:
            T: How many queries there are.
            S: How many keys there are; by default T.
            batch: B, for a bias that differs between the sequences of a batch.
            heads: H, for a bias that differs between heads.
            device: Where the result is made.

        Returns:
            What is added to each score, (T, S), or (B or 1, H or 1, T, S).
        """
        S = T if S is None else S  # noqa: N806
        b = torch.arange(batch, device=device).view(-1, 1, 1, 1)
        h = torch.arange(heads, device=device).view(1, -1, 1, 1)
        q_idx = torch.arange(T, device=device).view(-1, 1)
        bias = self.bias_mod(b, h, q_idx, torch.arange(S, device=device))
        return bias.expand(*bias.shape[:-2], T, S)


def alibi_slopes(heads: int, *, device: torch.device | str | None = None) -> Float[Tensor, " H"]:
    """How much each head of ALiBi takes off for each position of distance (Chapter 11).

    Press et al. 2021, arXiv:2108.12409, section 3. For H a power of two they are 2^(−8/H), 2^(−16/H) … 2^(−8). For
    another H the authors' code takes the slopes of the largest power of two below it, and then every other slope of
    the power above it.

    >>> alibi_slopes(4)
    tensor([0.2500, 0.0625, 0.0156, 0.0039])

    Args:
        heads: H, at least 1.
        device: Where the result is made.

    Raises:
        ValueError: H is less than 1.
    """
    _check_heads(heads)
    return _slope(torch.arange(heads, device=device), heads)


def alibi(heads: int) -> Bias:
    """Attention with linear biases: −slope · distance is added to each score, in place of any positions (Chapter 11).

    Press et al. 2021, arXiv:2108.12409, section 3. Nothing is learned; near keys weigh more from the start, each head
    with its own reach, of about 1 / slope positions.

    Args:
        heads: H, at least 1. Each head has its slope of :func:`alibi_slopes`.

    Raises:
        ValueError: H is less than 1.
    """
    _check_heads(heads)
    return Bias(lambda b, h, q_idx, kv_idx: _slope(h, heads) * -(q_idx - kv_idx).abs(), f"alibi({heads})")


def _slope(h: Int[Tensor, "..."], heads: int) -> Float[Tensor, "..."]:
    # A formula and no table, so that it runs inside a compiled kernel, on every device.
    power = 2 ** (heads.bit_length() - 1)
    exponent = torch.where(h < power, -8 * (h + 1) / power, -4 * (2 * (h - power) + 1) / power)
    return torch.exp2(exponent)


def _check_heads(heads: int) -> None:
    if heads < 1:
        raise ValueError(f"ALiBi needs at least 1 head, but heads = {heads}.")
