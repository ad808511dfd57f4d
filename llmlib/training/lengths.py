"""How well a model predicts at each position of a text, also beyond the length it was trained on (Chapter 11)."""

import math
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int, Integer
from torch import Tensor

from llmlib.models.inference import LanguageModel, device_of, evaluating

TOKENS_AT_ONCE = 4096


def loss_by_position(
    model: LanguageModel,
    rows: Integer[np.ndarray, "N T1"] | Integer[Tensor, "N T1"],
    *,
    tokens_at_once: int = TOKENS_AT_ONCE,
) -> Float[Tensor, "N T"]:
    """The cross-entropy of each token of each row, given all the tokens before it in the row (Chapter 11).

    A row is read as one text, however long: no window is cut from it. Few rows are read at once if they are long, and
    the logits, (T, V) of a row, exist for some positions at a time, so that with a fused attention the memory needed
    grows as T, and neither as T² nor as T · V.

    Args:
        model: A model with ``hidden`` and ``logits``, such as :class:`~llmlib.models.llama.Llama`; of any other
            function from ids (B, T) to logits (B, T, V), the logits of a batch are made at once.
        rows: Token ids, rows of T + 1.
        tokens_at_once: How many tokens are read at once, as long as that is at least one row, and the number of
            positions that have logits at once.

    Returns:
        In nats, (N, T), in float64 on the CPU. Its mean over the rows is the loss by position.

    Raises:
        ValueError: ``rows`` are not (N, T + 1) with at least one prediction, ``tokens_at_once`` is not positive, or
            the model cannot read so far, as one with learned positions.
    """
    ids = torch.as_tensor(rows)
    if ids.dim() != 2 or len(ids) < 1 or ids.shape[1] < 2:
        raise ValueError(
            f"rows must be token ids (N, T + 1) with at least one prediction, but are {tuple(ids.shape)}."
        )
    if tokens_at_once < 1:
        raise ValueError(f"tokens_at_once must be 1 or more, but is {tokens_at_once}.")
    batch_size = max(1, tokens_at_once // (ids.shape[1] - 1))
    device = device_of(model)
    with evaluating(model):
        parts = (part.to(device, torch.int64) for part in ids.split(batch_size))
        return torch.cat([_losses(model, part, tokens_at_once) for part in parts])


def perplexity_by_length(losses: Float[Tensor, "N T"], lengths: Iterable[int]) -> dict[int, float]:
    """Perplexity of texts that are so long: over the first n tokens of each row (Chapter 11).

    Every length begins where the row does, so each position counts in all lengths that reach it.

    Args:
        losses: From :func:`loss_by_position`.
        lengths: The lengths n, each from 1 to T.

    Raises:
        ValueError: A length is not in 1 … T.
    """
    lengths = list(lengths)
    if not all(1 <= n <= losses.shape[1] for n in lengths):
        raise ValueError(f"Each length must be in 1 … {losses.shape[1]}, the rows' own, but are {lengths}.")
    return {n: math.exp(losses[:, :n].mean()) for n in lengths}


def _losses(model: LanguageModel, ids: Int[Tensor, "B T1"], positions: int) -> Float[Tensor, "B T"]:
    inputs, targets = ids[:, :-1], ids[:, 1:]
    if not (hasattr(model, "hidden") and hasattr(model, "logits")):
        return _cross_entropy(model(inputs), targets)
    hidden = model.hidden(inputs)
    piece = max(1, positions // len(ids))
    pairs = zip(hidden.split(piece, dim=1), targets.split(piece, dim=1), strict=True)
    return torch.cat([_cross_entropy(model.logits(part), wanted) for part, wanted in pairs], dim=1)


def _cross_entropy(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return F.cross_entropy(logits.float().mT, targets, reduction="none").double().cpu()
