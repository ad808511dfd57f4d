"""All n-grams of a text and their Kneser–Ney counts, as a trie in sorted arrays (Chapter 2)."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Counts:
    """All different n-grams of one length n: the nodes of one level of a trie.

    An n-gram is its context (the number of a node of length n − 1) and its last token, joined in one key.

    Attributes:
        keys: context · V + token of each n-gram, ascending, so that the n-grams of a context stand together.
        suffixes: The n-gram without its first token: the number of a node of length n − 1.
        counts: How often each occurs or, below the highest order, after how many different tokens.
    """

    keys: np.ndarray
    suffixes: np.ndarray
    counts: np.ndarray

    def discount(self) -> float | None:
        """D = n_1 / (n_1 + 2 n_2) (Chen and Goodman 1999, section 2.6); None where no count is 1."""
        once, twice = np.count_nonzero(self.counts == 1), np.count_nonzero(self.counts == 2)
        return once / (once + 2 * twice) if once else None


def count_ngrams(stream: np.ndarray, vocab_size: int, order: int) -> list[Counts]:
    """Count the n-grams of a text.

    Args:
        stream: Token ids (T,) as int64, with T ≥ ``order``.
        vocab_size: V.
        order: The length of the longest n-grams.

    Returns:
        The counts of the n-grams of length 1 (all V tokens, seen or not), 2 (those that were seen), …
    """
    tokens = np.arange(vocab_size)
    levels = [Counts(tokens, np.zeros_like(tokens), np.bincount(stream, minlength=vocab_size))]
    nodes = stream  # the n-gram that ends at each position
    for length in range(2, order + 1):
        longer = nodes[:-1] * vocab_size + stream[length - 1 :]
        keys, first, nodes_longer, occurrences = np.unique(
            longer, return_index=True, return_inverse=True, return_counts=True
        )
        suffixes = nodes[1:][first]
        # Each different n-gram that ends in a suffix puts one more token before it.
        levels[-1].counts = np.bincount(suffixes, minlength=len(levels[-1].keys))
        levels.append(Counts(keys, suffixes, occurrences))
        nodes = nodes_longer
    return levels
