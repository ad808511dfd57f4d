"""ROUGE-L: how alike two texts are, by the longest sequence of words that they share (Chapter 12)."""

import re
from collections.abc import Sequence

_WORD = re.compile(r"[a-z0-9]+")


def words(text: str) -> list[str]:
    """The words of a text as ROUGE counts them: runs of letters and digits, in small letters."""
    return _WORD.findall(text.lower())


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """The length of the longest sequence that is in both, in order but with gaps.

    >>> longest_common_subsequence("the cat sat on the mat".split(), "the mat sat on the cat".split())
    4

    Row by row: ``row[j]`` is the answer for the words of ``a`` so far and the first j of ``b``.
    """
    row = [0] * (len(b) + 1)
    for word in a:
        above = row
        row = [0]
        for j, other in enumerate(b):
            row.append(above[j] + 1 if word == other else max(row[j], above[j + 1]))
    return row[-1]


def rouge_l(candidate: str, reference: str) -> float:
    """How alike two texts are, from 0 to 1 (Chapter 12).

    Lin 2004, https://aclanthology.org/W04-1013, section 3.1, with β = 1: with n words in common, the harmonic mean of
    n / len(candidate) and n / len(reference).

    >>> round(rouge_l("the cat sat on the mat", "the mat sat on the cat"), 3)
    0.667

    Args:
        candidate: A text.
        reference: Another.

    Returns:
        The F-measure; 0 if one of them has no word.
    """
    a, b = words(candidate), words(reference)
    if not a or not b:
        return 0.0
    return 2 * longest_common_subsequence(a, b) / (len(a) + len(b))
