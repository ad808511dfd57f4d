"""How well a model predicts texts that it has not seen: one measure for all models (Chapter 2).

All models are asked the same: each text begins after an end-of-text token, every token of it is predicted
exactly once from the tokens before it, and so is the end-of-text token that follows. What differs is how far
a model can look back; see :func:`llmlib.training.scoring.log_probabilities`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmlib.models.inference import LanguageModel
from llmlib.training.scoring import log_probabilities


class Tokenizer(Protocol):
    """What :func:`evaluate` asks of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of held-out texts (Chapter 2).

    Attributes:
        nats: −ln of the probability of all texts: the sum over their tokens.
        tokens: How many tokens were predicted, one end-of-text token for each text among them.
        bytes: The size of the texts in UTF-8.
    """

    nats: float
    tokens: int
    bytes: int

    @property
    def cross_entropy(self) -> float:
        """Nats per token: the loss that training lowers."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """Among how many equally likely tokens the model is in doubt, on (geometric) average."""
        return math.exp(self.cross_entropy)

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of text. Unlike the others it does not depend on how long the tokens are."""
        return self.nats / math.log(2) / self.bytes


def evaluate(
    model: LanguageModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    end: int,
    *,
    stride: int | None = None,
    batch_size: int = 16,
) -> Evaluation:
    """Measure how well a model predicts texts (Chapter 2).

    Args:
        model: Any language model of the book, or any other function from ids (B, T) to logits (B, T, V).
        tokenizer: The tokenizer of the model. It must lose nothing, or bytes would be counted that were never
            predicted.
        texts: The held-out documents.
        end: The id of the end-of-text token.
        stride: As for :func:`llmlib.training.scoring.log_probabilities`.
        batch_size: As for :func:`llmlib.training.scoring.log_probabilities`.

    Returns:
        Cross-entropy, perplexity and bits per byte.

    Raises:
        TypeError: ``texts`` is one string.
        ValueError: There is no text, the tokenizer does not give a text back, or the model gives NaN.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of documents, but is one string: pass [text].")
    size = sum(len(text.encode()) for text in texts)
    if not size:
        raise ValueError("There is no text to evaluate on: all documents are empty.")
    sequences = []
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text)
        if tokenizer.decode(ids) != text:
            raise ValueError(
                f"Document {number} does not survive the tokenizer: what it loses would count as predicted. "
                "Use a tokenizer that can encode every text, such as BPETokenizer."
            )
        sequences.append([end, *ids, end])
    scores = log_probabilities(model, sequences, stride=stride, batch_size=batch_size)
    nats = -sum(float(score.sum()) for score in scores)
    if math.isnan(nats):
        raise ValueError("The model gives NaN, as it does when its training diverged.")
    return Evaluation(nats, sum(len(score) for score in scores), size)
