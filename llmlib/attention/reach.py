"""What a mask still connects: how far information travels in some layers of attention (Chapter 5)."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmlib.attention.mask import Mask


def reachable(
    mask: Mask,
    T: int,  # noqa: N803
    layers: int,
    *,
    head: int = 0,
) -> Bool[Tensor, "L T T"]:
    """Which positions can inform which others after 1, 2, … layers of attention under a mask (Chapter 5).

    A layer passes on what the one before has gathered: after L layers a position knows of all that lie at most L steps
    away in the graph of the mask. A residual connection keeps what was there, so each position reaches itself.

    Args:
        mask: Who sees whom in one layer.
        T: Length of the sequence. The calculation needs T² entries for each layer.
        layers: L, at least 1.
        head: Which head's mask, where heads differ.

    Returns:
        True where the position (row) has been reached by the other (column).

    Raises:
        ValueError: There is no layer.
    """
    if layers < 1:
        raise ValueError(f"Reach is counted from 1 layer on, but got layers = {layers}.")
    step = _step(mask, T, head)
    reached = [step]
    for _ in range(layers - 1):
        reached.append(_both(step, reached[-1]))
    return torch.stack(reached)


def receptive_field(
    mask: Mask,
    T: int,  # noqa: N803
    layers: int,
    *,
    head: int = 0,
) -> Int[Tensor, "L T"]:
    """How many positions each position can know of after 1, 2, … layers (Chapter 5).

    Args:
        mask: Who sees whom in one layer.
        T: Length of the sequence.
        layers: L, at least 1.
        head: Which head's mask, where heads differ.

    Raises:
        ValueError: There is no layer.
    """
    return reachable(mask, T, layers, head=head).sum(-1)


def diameter(
    mask: Mask,
    T: int,  # noqa: N803
    *,
    head: int = 0,
) -> int:
    """How many layers it takes until every position knows of every other that it can ever know of (Chapter 5).

    Where all can be reached from all, that is the diameter of the mask's graph.

    Args:
        mask: Who sees whom in one layer.
        T: Length of the sequence.
        head: Which head's mask, where heads differ.
    """
    step = _step(mask, T, head)
    reached, steps = torch.eye(T, dtype=torch.bool), 0
    while not torch.equal(further := _both(step, reached), reached):
        reached, steps = further, steps + 1
    return steps


def _step(mask: Mask, T: int, head: int) -> Bool[Tensor, "T T"]:  # noqa: N803
    allowed = mask.dense(T, heads=head + 1)
    if allowed.dim() == 4:
        allowed = allowed[0, -1]
    return allowed | torch.eye(T, dtype=torch.bool)


def _both(first: Bool[Tensor, "T T"], second: Bool[Tensor, "T T"]) -> Bool[Tensor, "T T"]:
    """Whom a position reaches in one step of each."""
    return first.float() @ second.float() > 0
