"""How much of the true attention is among chosen pairs: the measure of a choice by content (Chapter 5)."""

from jaxtyping import Bool, Float
from torch import Tensor


def mass_recall(weights: Float[Tensor, "B H T S"], pairs: Bool[Tensor, "... T S"]) -> Float[Tensor, "B H"]:
    """The share of the true attention that falls on chosen pairs: what attention over them alone can recover.

    Args:
        weights: The true ones, from :func:`~llmlib.attention.dense.attention_weights`.
        pairs: Those that were chosen.

    Returns:
        The mean over the queries that see something, from 0 to 1.
    """
    return (weights * pairs).sum((-2, -1)) / weights.sum((-2, -1))


def top_recall(
    weights: Float[Tensor, "B H T S"], pairs: Bool[Tensor, "... T S"], top: int
) -> Float[Tensor, "B H"]:
    """The share of each query's most attended keys that are among chosen pairs.

    Args:
        weights: The true ones, from :func:`~llmlib.attention.dense.attention_weights`.
        pairs: Those that were chosen.
        top: How many keys of each query are looked for, 1 to S.

    Returns:
        The mean over the queries, from 0 to 1.

    Raises:
        ValueError: There are not so many keys, or none is looked for.
    """
    if not 1 <= top <= weights.shape[-1]:
        raise ValueError(f"top must be 1 to {weights.shape[-1]}, the number of keys, but is {top}.")
    wanted = weights.topk(top, dim=-1).indices
    return pairs.expand_as(weights).gather(-1, wanted).double().mean((-2, -1)).to(weights.dtype)
