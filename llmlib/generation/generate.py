"""Generation: predict, choose, append, again (Chapters 2, 7 and 8)."""

from collections.abc import Collection, Iterator
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.generation.cache import StaticCache
from llmlib.generation.decoders import Recomputing, decoder_for
from llmlib.generation.lean import few_cores
from llmlib.generation.prompts import read_prompts, several
from llmlib.generation.sampling import Sampler, choose
from llmlib.generation.stopping import Stop
from llmlib.models.inference import LanguageModel, evaluating_modules, modules_of, vocab_size_of

Ids = TypeVar("Ids", list[int], list[list[int]], Tensor)


def generate(
    model: LanguageModel,
    ids: Ids,
    max_new_tokens: int,
    *,
    sampler: Sampler | None = None,
    seed: int | None = None,
    stop: int | str | Collection[int | str] | None = None,
    tokenizer: Any = None,
    cache: bool | StaticCache = True,
    compile: bool = False,  # noqa: A002
    graph: bool = False,
) -> Ids:
    """Continue a text, or several at once (Chapters 2, 7 and 8).

    A text may grow beyond the context of its model: the model is then shown the last tokens, and the window moves with
    the text. Since every token then stands elsewhere in it, nothing of a cache can be kept, and it gets slow.

    Args:
        model: Any language model: ids (B, T) to logits (B, T, V).
        ids: The prompt: a list of token ids, or a tensor of shape (T) or (B, T). Prompts of different lengths are a
            list of lists.
        max_new_tokens: How many tokens to add at most.
        sampler: How the next token is chosen; by default drawn from the model's own distribution.
            ``Sampler(temperature=0)`` is greedy.
        seed: The same seed draws the same text from the same probabilities, on every device. Without one,
            PyTorch's global generator decides.
        stop: After what a text ends: a token, such as the end-of-text token; a string, which may be part of a token or
            begin in one and end in another; or several of either. The token that completes it is the last.
        tokenizer: The model's tokenizer, for strings in ``stop``.
        cache: Whether to keep keys and values. True: in a :class:`~llmlib.generation.cache.StaticCache` where the model
            takes one. False: everything is computed anew for each token. Or an empty cache that you made, such as a
            :class:`~llmlib.generation.sliding_window.SlidingWindowCache`.
        compile: Whether to compile the step of one token with ``torch.compile``, which takes up to a minute at first.
        graph: On CUDA, whether to replay that step as a CUDA graph.

    Returns:
        The prompt and its continuation, as what ``ids`` were: a list, a list of lists, or a tensor. In a tensor, a text
        that has ended repeats its last token until all have.

    Raises:
        TypeError: ``ids`` or ``max_new_tokens`` are not whole numbers, or ``stop`` or ``cache`` are of another kind.
        ValueError: A prompt is empty, longer than the model's context, or it or ``stop`` goes beyond the vocabulary;
            ``max_new_tokens`` is negative; a string in ``stop`` comes without tokenizer; the cache does not fit; or the
            model gives logits that are not finite.
    """
    prompts = read_prompts(model, ids)
    ends = Stop(stop, tokenizer, vocab_size_of(model), len(prompts), prompts[0].device)
    decoder = decoder_for(model, prompts, max_new_tokens, cache, compile, graph)
    with few_cores(model):
        drawn = list(_loop(decoder, max_new_tokens, sampler or Sampler(), seed, ends))
    return cast("Ids", _as_it_came(ids, drawn, ends))


def _as_it_came(ids: Any, drawn: list[Tensor], ends: Stop) -> Any:
    if isinstance(ids, Tensor):
        columns = [tokens.to(ids.device, ids.dtype).reshape(*ids.shape[:-1], 1) for tokens in drawn]
        return torch.cat([ids, *columns], dim=-1)
    new = torch.stack(drawn, dim=1).tolist() if drawn else [[]] * len(ids)
    if not several(ids):
        return [*ids, *new[0]]
    lengths = ends.lengths.tolist()
    return [[*prompt, *row[:length]] for prompt, row, length in zip(ids, new, lengths, strict=True)]


def stream(
    model: LanguageModel,
    ids: list[int] | list[list[int]] | Tensor,
    max_new_tokens: int,
    *,
    sampler: Sampler | None = None,
    seed: int | None = None,
    stop: int | str | Collection[int | str] | None = None,
    tokenizer: Any = None,
    cache: bool | StaticCache = True,
    compile: bool = False,  # noqa: A002
    graph: bool = False,
) -> Iterator[int] | Iterator[Int[Tensor, " B"]]:
    """The new tokens of :func:`generate`, one by one as they are drawn (Chapter 2).

    Args:
        model: This and all others are those of :func:`generate`.
        ids: The prompt, or several.
        max_new_tokens: How many tokens to add at most.
        sampler: How the next token is chosen.
        seed: Makes the text repeatable.
        stop: After what a text ends; it comes, too.
        tokenizer: For strings in ``stop``.
        cache: Whether to keep keys and values.
        compile: Whether to compile the step of one token.
        graph: Whether to replay it as a CUDA graph.

    Returns:
        An iterator over token ids; of several prompts, over tensors (B), in which a text that has ended repeats its
        last token.

    Raises:
        TypeError: As :func:`generate`, at once and not only at the first token.
        ValueError: As :func:`generate`.
    """
    prompts = read_prompts(model, ids)
    ends = Stop(stop, tokenizer, vocab_size_of(model), len(prompts), prompts[0].device)
    decoder = decoder_for(model, prompts, max_new_tokens, cache, compile, graph)
    drawn = _loop(decoder, max_new_tokens, sampler or Sampler(), seed, ends)
    return drawn if several(ids) else (int(tokens) for tokens in drawn)


def _loop(
    decoder: Recomputing, max_new_tokens: int, sampler: Sampler, seed: int | None, ends: Stop
) -> Iterator[Int[Tensor, " B"]]:
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    modules = modules_of(decoder.model)
    tokens = None
    for _ in range(max_new_tokens):
        with evaluating_modules(modules):  # not around the loop: between two tokens the caller's code runs
            logits = decoder.logits()
        previous = None if sampler.repetition_penalty is None else _so_far(decoder)
        drawn = choose(logits, sampler, previous, generator)
        tokens = drawn if tokens is None else torch.where(ends.ended, tokens, drawn)
        yield tokens
        if ends.see(tokens):
            return
        decoder.append(tokens)


def _so_far(decoder: Recomputing) -> Int[Tensor, "B T"]:
    """All texts as one tensor. The shorter begin with their first token again and again: for a penalty, that is one."""
    texts = decoder.texts()
    longest = max(map(len, texts))
    return torch.stack([torch.cat([text[:1].expand(longest - len(text)), text]) for text in texts])
