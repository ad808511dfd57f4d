"""The probability that a model gives to each token of a text (Chapter 2)."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmlib.models import RNN, KneserNey
from llmlib.models.inference import LanguageModel, context_of, device_of, evaluating

PIECE = 128
"""How many tokens of each text a recurrent model reads at once."""


def log_probabilities(
    model: LanguageModel,
    sequences: Sequence[Sequence[int]],
    *,
    stride: int | None = None,
    batch_size: int = 16,
) -> list[Float[Tensor, " t"]]:
    """The log-probability of each token of some sequences but the first (Chapter 2).

    How much of what stands before a token is used depends on the model:

    - :class:`~llmlib.models.ngram.KneserNey`: the last n − 1 tokens;
    - :class:`~llmlib.models.rnn.RNN`: all, through the state that is carried from the beginning;
    - a model with a limited context of K tokens: all while they fit; then a window moves along in steps of
      ``stride`` tokens, and each token is predicted from at least K − ``stride`` + 1 tokens;
    - any other model: all.

    Args:
        model: The model.
        sequences: Token ids. Nothing is carried from one sequence to the next.
        stride: From 1, the most context and the most work, to K, the least; by default K/2.
        batch_size: How many sequences or windows the model reads at once, B.

    Returns:
        For each sequence ln P(ids[t] | ids[:t]) for t = 1 … len(ids) − 1, in nats, in float64 on the CPU.

    Raises:
        ValueError: ``stride`` is not between 1 and K, or ``batch_size`` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, but is {batch_size}.")
    if isinstance(model, KneserNey):
        return [torch.from_numpy(model.log_probabilities(ids)) for ids in sequences]
    rows = [torch.tensor(ids, dtype=torch.long) for ids in sequences]
    scores = [torch.empty(max(len(row) - 1, 0), dtype=torch.float64) for row in rows]
    with evaluating(model):
        if isinstance(model, RNN):
            _carry(model, rows, scores, batch_size)
        else:
            _slide(model, rows, scores, stride, batch_size)
    return scores


def _carry(model: RNN, rows: list[Tensor], scores: list[Tensor], batch_size: int) -> None:
    """Fill in the scores piece by piece, with the state after one piece as the state before the next."""
    device = device_of(model)
    # Texts of similar length together; the longest first, so that those that go on stand at the top.
    order = sorted(range(len(rows)), key=lambda number: -len(rows[number]))
    for first in range(0, len(order), batch_size):
        group = order[first : first + batch_size]
        states = None
        for begin in range(0, len(rows[group[0]]) - 1, PIECE):
            group = [number for number in group if len(rows[number]) - 1 > begin]
            pieces = [rows[number][begin : begin + PIECE + 1] for number in group]
            ids, targets = (part.to(device) for part in _batch(pieces))
            if states is not None:
                states = [tuple(part[: len(group)] for part in state) for state in states]
            logits, states = model.read_on(ids, states)
            for number, piece, score in zip(group, pieces, _score(logits, targets), strict=True):
                scores[number][begin : begin + PIECE] = score[: len(piece) - 1]


def _slide(
    model: LanguageModel, rows: list[Tensor], scores: list[Tensor], stride: int | None, batch_size: int
) -> None:
    """Fill in the scores window by window."""
    context = context_of(model) or max((len(row) for row in rows), default=1)
    stride = max(context // 2, 1) if stride is None else stride
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be between 1 and the model's context of {context}, but is {stride}.")
    device = device_of(model)
    windows = [
        (number, *window)
        for number, row in enumerate(rows)
        for window in _windows(len(row) - 1, context, stride)
    ]
    windows.sort(key=lambda window: window[2] - window[1])  # of similar length together
    for first in range(0, len(windows), batch_size):
        group = windows[first : first + batch_size]
        ids, targets = _batch([rows[number][begin : end + 1] for number, begin, end, _ in group])
        for (number, begin, end, new), score in zip(
            group, _score(model(ids.to(device)), targets.to(device)), strict=True
        ):
            scores[number][new:end] = score[new - begin : end - begin]


def _windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """Begin and end of each window over ``length`` predictions, and the first one that is new in it."""
    done = 0
    while done < length:
        end = min(max(done + stride, context), length)
        yield max(end - context, 0), end, done
        done = end


def _batch(pieces: list[Tensor]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Inputs and targets. What fills up the shorter pieces comes last, where a causal model does not look."""
    padded = pad_sequence(pieces, batch_first=True)
    return padded[:, :-1], padded[:, 1:]


def _score(logits: Float[Tensor, "B T V"], targets: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    return -F.cross_entropy(logits.float().mT, targets, reduction="none").double().cpu()
