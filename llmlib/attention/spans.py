"""Asking a mask about a whole block at once: positions as spans, answers as verdicts (Chapter 5).

A mask is a predicate on positions. Given two *spans* of positions in their place, the same predicate, unchanged,
tells what surely holds for all pairs in a block and what may hold for some: interval arithmetic (Moore 1966). So
the blocks that a mask keeps are found without a look at each of the T · S pairs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Number = Tensor | int


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a predicate says about the pairs of a block.

    Attributes:
        possible: False where it surely holds for no pair.
        certain: True where it surely holds for every pair.
    """

    possible: Tensor
    certain: Tensor

    def __and__(self, other: Verdict | Tensor) -> Verdict:
        other = _verdict(other)
        return Verdict(self.possible & other.possible, self.certain & other.certain)

    def __or__(self, other: Verdict | Tensor) -> Verdict:
        other = _verdict(other)
        return Verdict(self.possible | other.possible, self.certain | other.certain)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Verdict:
        return Verdict(~self.certain, ~self.possible)

    def __bool__(self) -> bool:
        raise TypeError("A verdict on a block is neither true nor false: write & | ~, not and, or, not.")


@dataclass(frozen=True, eq=False)
class Span:
    """Whole numbers of which the smallest and the largest are known.

    Attributes:
        low: The smallest.
        high: The largest, not less than ``low``.
    """

    low: Tensor
    high: Tensor

    def __add__(self, other: Span | Number) -> Span:
        other = _span(other)
        return Span(self.low + other.low, self.high + other.high)

    def __neg__(self) -> Span:
        return Span(-self.high, -self.low)

    def __sub__(self, other: Span | Number) -> Span:
        return self + -_span(other)

    def __rsub__(self, other: Number) -> Span:
        return -self + other

    def __mul__(self, other: Span | Number) -> Span:
        return self._corners(torch.mul, _span(other))

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, divisor: Span | Number) -> Span:
        """The quotient, rounded down; the divisor must be at least 1."""
        divisor = _span(divisor)
        return self._corners(torch.floor_divide, Span(divisor.low.clamp(min=1), divisor.high.clamp(min=1)))

    def __mod__(self, divisor: Span | Number) -> Span:
        """The remainder: from 0 to divisor - 1, and known where no multiple of the divisor lies between."""
        divisor = _span(divisor)
        low, high = divisor.low.clamp(min=1), divisor.high.clamp(min=1)
        exact = (low == high) & (self.low // low == self.high // low)
        return Span(torch.where(exact, self.low % low, 0), torch.where(exact, self.high % low, high - 1))

    def abs(self) -> Span:
        """The distance from 0."""
        smallest = torch.maximum(self.low, -self.high).clamp(min=0)
        return Span(smallest, torch.maximum(self.low.abs(), self.high.abs()))

    def __abs__(self) -> Span:
        return self.abs()

    def _corners(self, operation: Callable[[Tensor, Tensor], Tensor], other: Span) -> Span:
        """The span of an operation that goes only up, or only down, in each of its two arguments."""
        ends = [operation(a, b) for a in (self.low, self.high) for b in (other.low, other.high)]
        return Span(functools.reduce(torch.minimum, ends), functools.reduce(torch.maximum, ends))

    def __lt__(self, other: Span | Number) -> Verdict:
        other = _span(other)
        return Verdict(self.low < other.high, self.high < other.low)

    def __le__(self, other: Span | Number) -> Verdict:
        other = _span(other)
        return Verdict(self.low <= other.high, self.high <= other.low)

    def __gt__(self, other: Span | Number) -> Verdict:
        return ~(self <= other)

    def __ge__(self, other: Span | Number) -> Verdict:
        return ~(self < other)

    def __eq__(self, other: object) -> Verdict:  # type: ignore[override]
        if not isinstance(other, (Span, Tensor, int)):
            return NotImplemented
        return (self <= other) & (self >= other)

    def __ne__(self, other: object) -> Verdict:  # type: ignore[override]
        return ~(self == other)


def _span(value: Span | Number) -> Span:
    if isinstance(value, Span):
        return value
    value = torch.as_tensor(value)
    return Span(value, value)


def _verdict(value: Verdict | Tensor) -> Verdict:
    return value if isinstance(value, Verdict) else Verdict(value, value)
