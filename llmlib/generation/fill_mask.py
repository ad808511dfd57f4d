"""Filling in masked tokens: what a BERT is asked (Chapter 10)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.models import GLM, Bert
from llmlib.models.inference import device_of, evaluating

MASK_TOKEN = "[MASK]"


class Tokenizer(Protocol):
    """What :func:`fill_mask` asks of a tokenizer, such as :class:`~llmlib.tokenizers.wordpiece.WordPieceTokenizer`."""

    @property
    def special_tokens(self) -> Mapping[str, int]:
        """The special tokens: name to id."""

    def encode(self, text: str, allowed_special: tuple[str, ...] = ()) -> list[int]:
        """The token ids of a text, in which the special tokens that are allowed become theirs."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Candidate:
    """What may stand in a blank.

    Attributes:
        token: Its text.
        id: Its id.
        probability: What the model gives to it, from 0 to 1.
    """

    token: str
    id: int
    probability: float


def fill_mask(model: Bert, tokenizer: Tokenizer, text: str, *, top: int = 5) -> list[list[Candidate]]:
    """What a BERT puts into each ``[MASK]`` of a text (Chapter 10).

    Each blank is one token, and is judged by itself: with several, all are masked while each is predicted.

    >>> fill_mask(bert, wordpiece, "the method [MASK] a new list .")  # doctest: +SKIP

    Args:
        model: The model.
        tokenizer: The tokenizer that it was trained with.
        text: A text with at least one ``[MASK]``.
        top: How many candidates to give, at most V.

    Returns:
        For each ``[MASK]``, from left to right, the most probable tokens, the best first.

    Raises:
        ValueError: The tokenizer has no mask token, the text has none, it is longer than the model's context, or
            ``top`` is not in 1 … V.
    """
    mask_id = tokenizer.special_tokens.get(MASK_TOKEN)
    if mask_id is None:
        known = ", ".join(tokenizer.special_tokens) or "none"
        raise ValueError(
            f"The tokenizer has no {MASK_TOKEN}: its special tokens are {known}. Train it with {MASK_TOKEN} "
            "among its special_tokens."
        )
    if not 1 <= top <= model.config.vocab_size:
        raise ValueError(f"top must be in 1 … {model.config.vocab_size} (the vocabulary), but is {top}.")
    ids = torch.tensor([tokenizer.encode(text, allowed_special=(MASK_TOKEN,))], dtype=torch.long)
    blanks = ids[0] == mask_id
    if not blanks.any():
        raise ValueError(f"The text has no {MASK_TOKEN} to fill: {text[:60]!r}.")
    with evaluating(model):
        hidden = model.hidden(ids.to(device_of(model)))
        probabilities = model.logits(hidden[0, blanks.to(hidden.device)]).softmax(dim=-1)
    return [
        [
            Candidate(tokenizer.decode([token]), token, probability)
            for probability, token in zip(values, tokens, strict=True)
        ]
        for values, tokens in zip(*(part.tolist() for part in probabilities.topk(top)), strict=True)
    ]


def fill_blanks(
    model: GLM,
    ids: list[int],
    *,
    mask_id: int,
    start_id: int,
    end_id: int,
    longest: int = 16,
) -> list[list[int]]:
    """What a GLM writes into each mask of a text, greedily, from left to right (Chapter 10).

    A blank may become any number of tokens. Those that are filled are read when the next is written (Du et al. 2021,
    arXiv:2103.10360, section 2.1).

    Args:
        model: The model.
        ids: The token ids of a text, with masks: part A.
        mask_id: The mask token.
        start_id: What stands before what is written.
        end_id: What ends it.
        longest: How many tokens are written into a blank at most.

    Returns:
        For each mask the tokens, without start and end.

    Raises:
        ValueError: The text has no mask, or text and blanks are longer than the model's context.
    """
    places = [place for place, token in enumerate(ids) if token == mask_id]
    if not places:
        raise ValueError(f"The text has no mask token ({mask_id}) to fill.")
    read = list(ids)
    positions = [[*range(len(ids))], [0] * len(ids)]
    filled: list[list[int]] = []
    with evaluating(model):
        for place in places:
            written: list[int] = []
            token = start_id
            for inside in range(1, longest + 1):
                read.append(token)
                positions[0].append(place)
                positions[1].append(inside)
                token = _next(model, read, positions, len(ids))
                if token == end_id:
                    break
                written.append(token)
            filled.append(written)
    return filled


def _next(model: GLM, ids: list[int], positions: list[list[int]], part_a: int) -> int:
    """The most probable next token."""

    def tensor(numbers: list[int] | list[list[int]]) -> Int[Tensor, "1 ..."]:
        return torch.tensor([numbers], device=device_of(model))

    hidden = model.hidden(
        tensor(ids), positions=tensor(positions), part_a=torch.tensor([part_a], device=device_of(model))
    )
    return int(model.logits(hidden[0, -1]).argmax())
