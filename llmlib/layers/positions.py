"""Absolute positions: what tells attention, which sees a set, where each token stands (Chapter 3)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def sinusoids(
    length: int, width: int, *, device: torch.device | str | None = None
) -> Float[Tensor, "length width"]:
    """The fixed position vectors of the first Transformer: sine and cosine in turn (Chapter 3).

    Position t has sin(t · ω_i) at 2i and cos(t · ω_i) at 2i + 1, with ω_i = 10000^(−2i / width). So the
    vector of t + k is that of t, rotated by angles that depend on k alone. Vaswani et al. 2017,
    arXiv:1706.03762, section 3.5.

    Args:
        length: How many positions.
        width: C, an even number.
        device: Where the result is made.

    Raises:
        ValueError: The width is odd.
    """
    if width % 2:
        raise ValueError(f"Sine and cosine come in pairs, so the width must be even, but it is {width}.")
    return _at(torch.arange(length, device=device), width)


def _at(positions: Int[Tensor, "... T"], width: int) -> Float[Tensor, "... T width"]:
    frequency = 10_000 ** -(torch.arange(0, width, 2, device=positions.device) / width)  # (width / 2)
    angle = positions.unsqueeze(-1) * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)


class SinusoidalPositions(nn.Module):
    """Adds :func:`sinusoids` to the token vectors: no parameters, and no longest sequence (Chapter 3).

    Args:
        width: C, an even number.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        sinusoids(0, width)  # raises at once for an odd width
        self.width = width

    def forward(
        self, x: Float[Tensor, "B T C"], positions: Int[Tensor, "... T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        """The vectors of ``x``, each with its position in it.

        Args:
            x: Token vectors.
            positions: Where they stand, (T) or (B, T); by default 0 … T − 1.
        """
        if positions is None:
            positions = torch.arange(x.shape[-2], device=x.device)
        return x + _at(positions, self.width).to(x.dtype)


class LearnedPositions(nn.Module):
    """Adds one learned vector for each position, as GPT-2 and BERT do (Chapter 3).

    Args:
        context: The longest sequence: positions beyond it have no vector.
        width: C.
        offset: In which row of the table the first position stands. BART's tables have 2 rows before it, which no
            token uses (Chapter 10).
    """

    def __init__(self, context: int, width: int, *, offset: int = 0) -> None:
        super().__init__()
        self.offset = offset
        self.weight = nn.Parameter(torch.randn(context + offset, width))

    def forward(
        self, x: Float[Tensor, "B T C"], positions: Int[Tensor, "... T"] | None = None
    ) -> Float[Tensor, "B T C"]:
        """The vectors of ``x``, each with its position in it.

        Args:
            x: Token vectors.
            positions: Where they stand, (T) or (B, T), below the context; by default 0 … T − 1.

        Raises:
            ValueError: The sequence is longer than the context.
        """
        if positions is not None:
            return x + self.weight[positions + self.offset]
        length, context = x.shape[-2], len(self.weight) - self.offset
        if length > context:
            raise ValueError(
                f"The sequence has {length} positions, but this model has learned vectors for {context} (its "
                "context): cut the sequence, or build the model with a longer context."
            )
        return x + self.weight[self.offset : self.offset + length]
