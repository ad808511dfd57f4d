"""Supervised fine-tuning: next-token prediction, of which only the answers count (Chapter 12)."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.adaptation.chat import ChatTemplate, Conversation, Encoded, Tokenizer
from llmlib.generation import Sampler, generate
from llmlib.models.inference import LanguageModel


def pad_conversations(conversations: Sequence[Encoded], length: int, pad_id: int) -> Int[np.ndarray, "N T2"]:
    """Each conversation in a row of its own, filled up (Chapter 12).

    Args:
        conversations: What :meth:`~llmlib.adaptation.chat.ChatTemplate.encode` gave.
        length: Tokens in a row, T + 1.
        pad_id: What fills the rows; it is never learnt, and comes where a causal model does not look.

    Returns:
        Rows for :func:`answer_loss`: T + 1 token ids, then as many numbers that say with 1 which of them are learnt.

    Raises:
        ValueError: A conversation is longer than a row, or there is none.
    """
    return _rows([[conversation] for conversation in _checked(conversations, length)], length, pad_id)


def pack_conversations(conversations: Sequence[Encoded], length: int, pad_id: int) -> Int[np.ndarray, "N T2"]:
    """As many whole conversations in a row as have room, the longest first, each where it first fits (Chapter 12).

    Less is computed for nothing than with one conversation in a row. A conversation then sees those that stand before
    it in the row, as the documents of pre-training do; the end tokens between them tell the model that they are over.

    Args:
        conversations: As for :func:`pad_conversations`, which has the same arguments and errors.
        length: Tokens in a row, T + 1.
        pad_id: What fills the rows.

    Returns:
        Rows for :func:`answer_loss`.

    Raises:
        ValueError: A conversation is longer than a row, or there is none.
    """
    rows: list[list[Encoded]] = []
    room: list[int] = []
    for conversation in sorted(_checked(conversations, length), key=lambda c: -len(c.ids)):
        size = len(conversation.ids)
        place = next((number for number, left in enumerate(room) if left >= size), len(rows))
        if place == len(rows):
            rows.append([])
            room.append(length)
        rows[place].append(conversation)
        room[place] -= size
    return _rows(rows, length, pad_id)


def answer_loss(model: nn.Module, rows: Int[Tensor, "B T2"]) -> Float[Tensor, ""]:
    """The cross-entropy of the tokens that are to be learnt: the objective of SFT, for ``train`` (Chapter 12).

    Args:
        model: ``model(ids)`` of shape (B, T) gives logits (B, T, V).
        rows: Rows of :func:`pad_conversations` or :func:`pack_conversations`.

    Returns:
        The mean over those tokens of the batch, in nats.

    Raises:
        ValueError: The rows are not made so, or there is nothing to learn in them.
    """
    if rows.shape[1] % 2 or int(rows[:, rows.shape[1] // 2 :].max()) > 1:
        raise ValueError(
            "Rows of SFT hold token ids and then a 0 or 1 for each: make them with pad_conversations or "
            f"pack_conversations. These have the shape {tuple(rows.shape)}."
        )
    ids, learn = rows.chunk(2, dim=1)
    counts = learn[:, 1:].bool()
    if not counts.any():
        raise ValueError(
            "There is no token to learn in these rows: an answer must not stand at their very beginning."
        )
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits[counts], ids[:, 1:][counts])


def reply(
    model: LanguageModel,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    conversation: Conversation,
    *,
    max_new_tokens: int = 60,
    sampler: Sampler | None = None,
    seed: int | None = None,
) -> tuple[str, bool]:
    """Let a model answer (Chapter 12).

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        template: The template with which it was tuned.
        conversation: What has been said.
        max_new_tokens: How long an answer may get.
        sampler: How tokens are chosen; by default the most probable one.
        seed: For samplers that draw.

    Returns:
        The answer, and whether it ended with the end token.

    Raises:
        ValueError: The tokenizer has no such end token, or the prompt does not fit the model.
    """
    prompt, end = template.prompt(conversation, tokenizer), template.end_id(tokenizer)
    ids = generate(
        model, prompt, max_new_tokens, sampler=sampler or Sampler(temperature=0), seed=seed, stop=end
    )
    answer = ids[len(prompt) :]
    ended = bool(answer) and answer[-1] == end
    return tokenizer.decode(answer[:-1] if ended else answer), ended


def _checked(conversations: Sequence[Encoded], length: int) -> Sequence[Encoded]:
    if not conversations:
        raise ValueError("There are no conversations to learn from.")
    longest = max(len(conversation.ids) for conversation in conversations)
    if longest > length:
        raise ValueError(
            f"A conversation has {longest} tokens, but a row has room for {length}: leave it out, or make rows longer. "
            "Cut short, it would teach an answer without an end."
        )
    return conversations


def _rows(groups: list[list[Encoded]], length: int, pad_id: int) -> Int[np.ndarray, "N T2"]:
    rows = np.zeros((len(groups), 2, length), dtype=np.int64)
    rows[:, 0] = pad_id
    for row, group in zip(rows, groups, strict=True):
        ids = [token for conversation in group for token in conversation.ids]
        row[0, : len(ids)] = ids
        row[1, : len(ids)] = [learnt for conversation in group for learnt in conversation.learn]
    return rows.reshape(len(groups), 2 * length)
