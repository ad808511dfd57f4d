"""Generation: predict, choose, append, again (Chapter 2)."""

from collections.abc import Collection, Iterator
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.generation.sampling import Sampler, distribution
from llmlib.models.inference import LanguageModel, context_of, device_of, evaluating, vocab_size_of
from llmlib.models.inputs import check_ids

Ids = TypeVar("Ids", list[int], Tensor)


def generate(
    model: LanguageModel,
    ids: Ids,
    max_new_tokens: int,
    *,
    sampler: Sampler | None = None,
    seed: int | None = None,
    stop: int | Collection[int] | None = None,
) -> Ids:
    """Continue a text, or several of equal length at once (Chapter 2).

    A model that reads a limited number of tokens is shown the last ones: its window moves with the text.

    Args:
        model: Any language model: ids (B, T) to logits (B, T, V).
        ids: The prompt: a list of token ids, or a tensor of shape (T) or (B, T).
        max_new_tokens: How many tokens to add at most.
        sampler: How the next token is chosen; by default drawn from the model's own distribution.
            ``Sampler(temperature=0)`` is greedy.
        seed: The same seed draws the same text from the same probabilities, on every device. Without one,
            PyTorch's global generator decides.
        stop: The token, or the tokens, after which a text ends, such as the end-of-text token.

    Returns:
        The prompt and its continuation, as what ``ids`` were: a list or a tensor. Of several texts, one that
        has ended repeats its last token until all have.

    Raises:
        TypeError: ``ids`` or ``max_new_tokens`` are not whole numbers.
        ValueError: The prompt is empty, it or ``stop`` goes beyond the vocabulary, ``max_new_tokens`` is
            negative, or the model gives logits that are not finite.
    """
    drawn: list[Tensor] = list(_draw(model, _prompt(model, ids), max_new_tokens, sampler, seed, stop))
    if isinstance(ids, Tensor):
        columns: list[Tensor] = [
            tokens.to(ids.device, ids.dtype).reshape(*ids.shape[:-1], 1) for tokens in drawn
        ]
        return torch.cat([ids, *columns], dim=-1)
    return [*ids, *(int(tokens) for tokens in drawn)]


def stream(
    model: LanguageModel,
    ids: list[int] | Tensor,
    max_new_tokens: int,
    *,
    sampler: Sampler | None = None,
    seed: int | None = None,
    stop: int | Collection[int] | None = None,
) -> Iterator[int] | Iterator[Int[Tensor, " B"]]:
    """The new tokens of :func:`generate`, one by one as they are drawn (Chapter 2).

    Args:
        model: This and all others are those of :func:`generate`.
        ids: The prompt.
        max_new_tokens: How many tokens to add at most.
        sampler: How the next token is chosen.
        seed: Makes the text repeatable.
        stop: The tokens after which a text ends; they come, too.

    Returns:
        An iterator over token ids; if ``ids`` is a tensor (B, T), over tensors (B).

    Raises:
        TypeError: As :func:`generate`, at once and not only at the first token.
        ValueError: As :func:`generate`.
    """
    drawn = _draw(model, _prompt(model, ids), max_new_tokens, sampler, seed, stop)
    several = isinstance(ids, Tensor) and ids.dim() == 2
    return drawn if several else (int(tokens) for tokens in drawn)


def _draw(
    model: LanguageModel,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    sampler: Sampler | None,
    seed: int | None,
    stop: int | Collection[int] | None,
) -> Iterator[Int[Tensor, " B"]]:
    """Check what can be checked now, and return the iterator over the new tokens."""
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int):
        raise TypeError(f"max_new_tokens must be a whole number, but is {max_new_tokens!r}.")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, but is {max_new_tokens}.")
    stops = [stop] if isinstance(stop, int) else sorted(stop or ())
    vocab_size = vocab_size_of(model)
    if vocab_size is not None and any(not 0 <= token < vocab_size for token in stops):
        raise ValueError(f"stop must hold token ids from 0 to {vocab_size - 1}, but is {stop!r}.")
    ends = torch.tensor(stops, dtype=torch.long, device=ids.device)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return _loop(model, ids, max_new_tokens, sampler or Sampler(), generator, ends)


def _loop(
    model: LanguageModel,
    ids: Int[Tensor, "B T"],
    max_new_tokens: int,
    sampler: Sampler,
    generator: torch.Generator | None,
    ends: Int[Tensor, " E"],
) -> Iterator[Int[Tensor, " B"]]:
    context = context_of(model) or 0  # ids[:, -0:] are all
    ended = torch.zeros_like(ids[:, -1], dtype=torch.bool)
    for _ in range(max_new_tokens):
        with evaluating(model):  # not around the loop: between two tokens the caller's code runs
            logits = model(ids[:, -context:])[:, -1]  # (B, V)
        probabilities = distribution(logits, sampler, previous=ids)
        # Drawn on the CPU, whose random numbers are the same on every machine.
        tokens = torch.multinomial(probabilities.cpu(), 1, generator=generator)[:, 0].to(ids.device)
        tokens = torch.where(ended, ids[:, -1], tokens)
        yield tokens
        ended = torch.isin(tokens, ends)
        if ended.all():
            return
        ids = torch.cat([ids, tokens[:, None]], dim=1)


def _prompt(model: LanguageModel, ids: list[int] | Tensor) -> Int[Tensor, "B T"]:
    """The prompt as a batch, where the model is."""
    if not isinstance(ids, list | Tensor):
        raise TypeError(f"The prompt must be a list of token ids or a tensor, but is a {type(ids).__name__}.")
    prompt = torch.as_tensor(ids)
    if prompt.numel() == 0:
        raise ValueError(
            "The prompt is empty, so there is nothing to predict from. To begin a new text, give the "
            "end-of-text token, which stands between texts in training."
        )
    prompt = prompt[None] if prompt.dim() == 1 else prompt
    check_ids(prompt.cpu(), vocab_size_of(model))
    return prompt.to(device_of(model), torch.long)
