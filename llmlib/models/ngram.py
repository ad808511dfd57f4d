"""The n-gram language model, smoothed by interpolated Kneser–Ney (Chapter 2).

Kneser and Ney 1995, "Improved backing-off for m-gram language modeling" (ICASSP); in the interpolated form of
Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling" (Computer Speech &
Language 13), sections 2.6 (discount) and 2.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from torch import Tensor

from llmlib.models.ngram_counts import count_ngrams

FALLBACK_DISCOUNT = 0.5
"""The discount where no n-gram was seen exactly once, so that there is nothing to estimate it from."""


@dataclass(frozen=True)
class Order:
    """The n-grams of one length n, and what the model says of them.

    Attributes:
        keys: Context and token of each n-gram, as :class:`llmlib.models.ngram_counts.Counts` has them.
        probability: P_n(token | context) of each n-gram, lower orders included.
        left: γ(context), what each context of length n − 1 leaves to the lower order.
    """

    keys: np.ndarray
    probability: np.ndarray
    left: np.ndarray

    def find(self, context: np.ndarray, token: np.ndarray, vocab_size: int) -> np.ndarray:
        """The numbers of the n-grams (context, token); −1 where it was never seen, or the context is −1."""
        key = np.where(context >= 0, context * vocab_size + token, -1)
        place = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where(self.keys[place] == key, place, -1)


class KneserNey:
    """An n-gram language model: the next token depends on the last n − 1 tokens only (Chapter 2).

    Each order is mixed with the next lower one, down to the uniform distribution, so that every token has a
    probability after every context:

        P_n(w | c) = max(count(c w) − D_n, 0) / count(c ·)  +  γ(c) P_{n−1}(w | c without its first token)

    The discount D_n is taken from every count, and γ(c) hands what was taken to the shorter context. The
    highest order counts how often an n-gram occurs; the lower ones count after how many *different* tokens
    it occurs: "Francisco" is frequent, but only after "San", so it is unlikely after any other word.

    The model is made by :meth:`fit`.

    Attributes:
        order: n, the length of the longest n-grams.
        vocab_size: V.
        discounts: D_1 to D_n.
    """

    def __init__(self, orders: Sequence[Order], vocab_size: int, discounts: Sequence[float]) -> None:
        self._orders = tuple(orders)
        self.order = len(self._orders)
        self.vocab_size = vocab_size
        self.discounts = tuple(discounts)

    @classmethod
    def fit(
        cls, ids: ArrayLike | Tensor, vocab_size: int, order: int = 5, discount: float | None = None
    ) -> "KneserNey":
        """Count the n-grams of a text.

        Args:
            ids: The text as one stream of token ids (T,), its documents joined by an end-of-text token.
            vocab_size: V.
            order: n, the length of the longest n-grams: a token is predicted from the n − 1 tokens before it.
            discount: D for all orders, above 0 and at most 1. By default each order has its own,
                n_1 / (n_1 + 2 n_2), where n_i is the number of its n-grams with count i; it is
                ``FALLBACK_DISCOUNT`` where n_1 is 0, as happens in very short texts.

        Returns:
            The model.

        Raises:
            TypeError: ``ids`` is no sequence of integers.
            ValueError: An id is outside the vocabulary, the text is shorter than ``order``, or ``order`` or
                ``discount`` is out of range.
        """
        if order < 1:
            raise ValueError(f"order must be 1 or more, but is {order}: 1 counts tokens, 2 counts pairs.")
        if discount is not None and not 0 < discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, but is {discount}; None estimates it.")
        stream = _checked(ids, vocab_size)
        if len(stream) < order:
            raise ValueError(f"A text of {len(stream)} tokens has no {order}-gram: give more text.")
        # The bottom of the recursion: one context, the empty one, and the uniform distribution below it.
        lower, contexts = np.array([1 / vocab_size]), 1
        orders: list[Order] = []
        discounts: list[float] = []
        for level in count_ngrams(stream, vocab_size, order):
            taken = discount or level.discount() or FALLBACK_DISCOUNT
            context = level.keys // vocab_size
            total = np.bincount(context, weights=level.counts, minlength=contexts)
            kinds = np.bincount(context[level.counts > 0], minlength=contexts)
            # A context that stands only at the very end of the text has no counts: all is left to its suffix.
            left = np.divide(taken * kinds, total, out=np.ones(contexts), where=total > 0)
            kept = np.maximum(level.counts - taken, 0) / np.maximum(total, 1)[context]
            lower, contexts = kept + left[context] * lower[level.suffixes], len(level.keys)
            orders.append(Order(level.keys, lower, left))
            discounts.append(float(taken))
        return cls(orders, vocab_size, discounts)

    @property
    def context(self) -> int:
        """How many of the last tokens the model looks at; it is given at least one."""
        return max(self.order - 1, 1)

    def num_parameters(self) -> int:
        """The number of stored probabilities and back-off weights."""
        return sum(order.probability.size + order.left.size for order in self._orders)

    def log_probabilities(self, ids: ArrayLike | Tensor) -> Float[np.ndarray, " t"]:
        """The log-probability of each token of a sequence but the first, given those before it.

        Args:
            ids: Token ids (T,). The first one is context only; it is usually the end-of-text token.

        Returns:
            ln P(ids[t] | ids[:t]) for t = 1 … T − 1, in nats.

        Raises:
            TypeError: ``ids`` is no sequence of integers.
            ValueError: An id is outside the vocabulary.
        """
        tokens = _checked(ids, self.vocab_size)
        target = tokens[1:]
        probability = self._orders[0].probability[target]
        context = tokens[:-1]  # the node of the context before each target: of 1 token here, then of 2, 3, …
        for shorter, longer in pairwise(self._orders):
            if shorter is not self._orders[0]:
                # A context is the shorter context one place earlier, and the token after that.
                earlier = np.concatenate([[-1], context[:-1]])
                context = shorter.find(earlier, tokens[:-1], self.vocab_size)
            found = longer.find(context, target, self.vocab_size)
            unseen = np.where(context >= 0, longer.left[context], 1.0) * probability
            probability = np.where(found >= 0, longer.probability[found], unseen)
        return np.log(probability)

    def distribution(self, context: ArrayLike | Tensor) -> Float[np.ndarray, " V"]:
        """The probability of every token after a context.

        Args:
            context: The token ids so far (T,), of which the last n − 1 are used. It may be empty.

        Returns:
            V probabilities, all above 0, whose sum is 1.

        Raises:
            TypeError: ``context`` is no sequence of integers.
            ValueError: An id is outside the vocabulary.
        """
        tokens = _checked(context, self.vocab_size)
        probability = self._orders[0].probability.copy()
        for length in range(1, min(self.order - 1, len(tokens)) + 1):
            node = tokens[len(tokens) - length]
            for order, token in zip(self._orders[1:], tokens[len(tokens) - length + 1 :], strict=False):
                node = order.find(node, token, self.vocab_size)
            if node < 0:
                break  # a longer context would hold this one, so it was not seen either
            longer = self._orders[length]
            begin, end = np.searchsorted(longer.keys, [node * self.vocab_size, (node + 1) * self.vocab_size])
            probability *= longer.left[node]
            probability[longer.keys[begin:end] % self.vocab_size] = longer.probability[begin:end]
        return probability

    def __call__(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T V"]:
        """Log-probabilities of the token after each position, in the place of a neural model's logits.

        Args:
            ids: Token ids (B, T).

        Returns:
            ln P(· | ids[b, :t + 1]), shape (B, T, V).
        """
        if ids.ndim != 2:
            raise ValueError(
                f"ids must have the shape (B, T), not {tuple(ids.shape)}: one sequence is ids[None]."
            )
        rows = [
            [self.distribution(row[max(0, t + 1 - self.context) : t + 1]) for t in range(len(row))]
            for row in ids.cpu().numpy()
        ]
        log_probabilities = np.log(np.array(rows).reshape(*ids.shape, self.vocab_size))
        return torch.as_tensor(log_probabilities, dtype=torch.float32, device=ids.device)


def _checked(ids: ArrayLike | Tensor, vocab_size: int) -> np.ndarray:
    """Token ids as an array of int64 (T,)."""
    tokens = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids)
    if tokens.size == 0:
        tokens = tokens.astype(np.int64)
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise TypeError(
            f"ids must be one sequence of integer token ids, not {tokens.dtype} of shape {tokens.shape}."
        )
    outside = tokens[(tokens < 0) | (tokens >= vocab_size)]
    if outside.size:
        raise ValueError(f"Token id {outside[0]} is outside the vocabulary of {vocab_size} tokens.")
    return tokens.astype(np.int64)
