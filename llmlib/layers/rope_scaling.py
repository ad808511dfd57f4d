"""RoPE for longer texts than those of training: rules for the angle that a position adds (Chapters 4 and 11).

A head of width D has D/2 pairs of numbers. Position t rotates pair i by t · θ_i. Fast pairs (small i) turn many
times within the context of training, slow ones never once: beyond that context they show angles that the
model has not seen. The rules differ in how they slow down which pair. Those here have one formula for all
pairs; those of :mod:`llmlib.layers.rope_by_parts` part them into fast and slow ones.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rope_frequencies(
    head_width: int, base: float | Tensor = 10_000.0, *, device: torch.device | str | None = None
) -> Float[Tensor, " D2"]:
    """θ_i = base^(−2i/D), in radians a position, from 1 down to almost 1/base (Chapter 4).

    Su et al. 2021, arXiv:2104.09864, section 3.2.2.

    Args:
        head_width: D, an even number.
        base: How slow the last pair is.
        device: Where the result is made.

    Returns:
        D/2 numbers in float32.
    """
    return 1 / base ** (torch.arange(0, head_width, 2, device=device) / head_width)


def ntk_base(base: float, factor: float, head_width: int) -> float:
    """The base with which the slowest pair turns ``factor`` times as slowly, and the fastest as before (Chapter 11).

    base · factor^(D/(D − 2)): "NTK-aware" scaling is another base and nothing else. Every pair between is slowed down
    the more, the slower it was. Described by Peng et al. 2023, arXiv:2309.00071, section 3.1.

    Args:
        base: The base of training.
        factor: By what the context grows, at least 1.
        head_width: D, at least 4.

    Raises:
        ValueError: The factor is less than 1, or the head width is odd or less than 4.
    """
    if not is_number(factor) or not factor >= 1:
        raise ValueError(f"The factor of RoPE must be a number of at least 1, but is {factor!r}.")
    if head_width < 4 or head_width % 2:
        raise ValueError(f"NTK-aware scaling needs an even head width of at least 4, not {head_width}.")
    return float(base * factor ** (head_width / (head_width - 2)))


@dataclass(frozen=True)
class RopeScaling:
    """No scaling: the angles are those of the paper. The other rules derive from this one (Chapter 11)."""

    kind: ClassVar[str] = "default"

    @property
    def amplitude(self) -> float:
        """The factor of the rotated queries and keys: its square multiplies every score."""
        return 1.0

    def frequencies(
        self, head_width: int, base: float, positions: Int[Tensor, "... T"]
    ) -> Float[Tensor, " D2"]:
        """θ_i of each pair for a sequence with these positions.

        Args:
            head_width: D, an even number.
            base: The base of :func:`rope_frequencies`.
            positions: The positions that will be rotated.
        """
        return rope_frequencies(head_width, base, device=positions.device)


@dataclass(frozen=True)
class StretchedRope(RopeScaling):
    """What all other rules share: the factor by which the context grows (Chapter 11).

    Attributes:
        factor: At least 1.

    Raises:
        ValueError: A number is not in its range.
    """

    factor: float

    def __post_init__(self) -> None:
        if not is_number(self.factor) or not self.factor >= 1:
            raise ValueError(f"The factor of RoPE must be a number of at least 1, but is {self.factor!r}.")
        context = getattr(self, "original_context", 1)
        if not isinstance(context, int) or isinstance(context, bool) or context < 1:
            raise ValueError(
                "original_context, the context of training, must be a whole number of at least 1, but is "
                f"{context!r}."
            )


@dataclass(frozen=True)
class LinearScaling(StretchedRope):
    """Position interpolation: all pairs are slowed down alike, θ_i / factor (Chapter 11).

    Chen et al. 2023, arXiv:2306.15595, section 2.3.

    Attributes:
        factor: By what the context grows, at least 1.
    """

    kind: ClassVar[str] = "linear"

    def frequencies(
        self, head_width: int, base: float, positions: Int[Tensor, "... T"]
    ) -> Float[Tensor, " D2"]:
        """θ_i / factor."""
        return super().frequencies(head_width, base, positions) / self.factor


@dataclass(frozen=True)
class DynamicScaling(StretchedRope):
    """Dynamic NTK: the longer the sequence, the larger the base, so that the slowest pair just fits (Chapter 11).

    Up to the context of training nothing changes. Beyond it, at length n, the base is multiplied by
    (factor · n / context − factor + 1)^(D/(D − 2)): the fastest pair keeps its speed and the slowest is slowed
    down by what stands in the brackets. Described by Peng et al. 2023, arXiv:2309.00071, sections 3.1 and 3.3.

    Attributes:
        factor: How fast the base grows, at least 1.
        original_context: The context of training, in tokens.
    """

    kind: ClassVar[str] = "dynamic"
    original_context: int

    def frequencies(
        self, head_width: int, base: float, positions: Int[Tensor, "... T"]
    ) -> Float[Tensor, " D2"]:
        """θ_i with the base for the last of the positions.

        Raises:
            ValueError: The heads have a width of 2, so that the slowest pair is also the fastest.
        """
        if head_width < 4:
            raise ValueError(f"Dynamic scaling of RoPE needs a head width of at least 4, not {head_width}.")
        # A tensor, for a number would make the program wait for the device.
        length = (positions.max() + 1).clamp(min=self.original_context)
        growth = self.factor * length / self.original_context - (self.factor - 1)
        stretched = base * growth ** (head_width / (head_width - 2))
        return rope_frequencies(head_width, stretched, device=positions.device)


def is_number(value: object) -> bool:
    """Whether a setting is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
