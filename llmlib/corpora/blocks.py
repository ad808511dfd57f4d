"""From documents of token ids to the rows that a model is trained on (Chapter 1).

Documents have different lengths, the rows of a batch have one. There are two ways: cut every document to a
maximum length (and pad the short ones), or join the documents and cut the stream into blocks. Each comes with
an exact account of what it throws away.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import overload

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True)
class Account:
    """What became of the tokens of the documents, and what was added to them.

    The tokens that came in are ``kept + discarded``; the rows hold ``kept + separators + padding``.

    Attributes:
        kept: Tokens of the documents that are in the rows.
        discarded: Tokens of the documents that are not.
        separators: End-of-text tokens in the rows, one after each document that ends there.
        padding: Places of the rows that hold no token.
    """

    kept: int
    discarded: int
    separators: int = 0
    padding: int = 0


@overload
def truncate(
    documents: Iterable[Sequence[int]], length: int, pad_id: None = None
) -> tuple[list[Int[np.ndarray, " t"]], Account]: ...
@overload
def truncate(
    documents: Iterable[Sequence[int]], length: int, pad_id: int
) -> tuple[Int[np.ndarray, "N T"], Account]: ...
def truncate(
    documents: Iterable[Sequence[int]], length: int, pad_id: int | None = None
) -> tuple[list[Int[np.ndarray, " t"]] | Int[np.ndarray, "N T"], Account]:
    """Cut every document to its first ``length`` tokens, and pad the shorter ones.

    Args:
        documents: The token ids of each of N documents.
        length: The most tokens to keep of a document, T.
        pad_id: What fills the rows of shorter documents; None leaves them short.

    Returns:
        The rows: an array of shape (N, T), or without ``pad_id`` a list of N arrays of at most T tokens. And
        the account.

    Raises:
        ValueError: ``length`` is not positive, ``pad_id`` is negative, or there is no document.
        TypeError: A document is not a sequence of token ids, or another argument is no integer.

    >>> truncate([[1, 2, 3], [4]], length=2, pad_id=0)
    (array([[1, 2],
           [4, 0]]), Account(kept=3, discarded=1, separators=0, padding=1))
    """
    tokens = _token_arrays(documents)
    _check_integer("length", length, smallest=1)
    rows = [ids[:length] for ids in tokens]
    kept = sum(len(row) for row in rows)
    discarded = sum(len(ids) for ids in tokens) - kept
    if pad_id is None:
        return rows, Account(kept, discarded)
    _check_integer("pad_id", pad_id, smallest=0)
    padded = np.full((len(rows), length), pad_id, dtype=np.int64)
    for padded_row, row in zip(padded, rows, strict=True):
        padded_row[: len(row)] = row
    return padded, Account(kept, discarded, padding=padded.size - kept)


def pack(
    documents: Iterable[Sequence[int]], length: int, separator_id: int
) -> tuple[Int[np.ndarray, "N T"], Account]:
    """Join the documents, with a separator after each, and cut the stream into blocks.

    This is how GPT-3 was trained (Brown et al. 2020, arXiv 2005.14165, appendix B): nothing is padded, and
    only the end that fills no block is lost. A document may go on in the next block, and a block may hold
    several documents.

    Args:
        documents: The token ids of each document.
        length: Tokens in a block, T.
        separator_id: The end-of-text token.

    Returns:
        The N blocks, an array of shape (N, T), with N = 0 if the stream fills no block. And the account.

    Raises:
        ValueError: ``length`` is not positive, ``separator_id`` is negative, or there is no document.
        TypeError: A document is not a sequence of token ids, or another argument is no integer.

    >>> pack([[1, 2, 3], [4]], length=2, separator_id=0)
    (array([[1, 2],
           [3, 0],
           [4, 0]]), Account(kept=4, discarded=0, separators=2, padding=0))
    """
    tokens = _token_arrays(documents)
    _check_integer("length", length, smallest=1)
    _check_integer("separator_id", separator_id, smallest=0)
    separator = np.array([separator_id])
    stream = np.concatenate(list(chain.from_iterable((ids, separator) for ids in tokens)))
    blocks = stream[: len(stream) // length * length].reshape(-1, length)

    # A token of a document may equal the separator, so separators are counted by their places.
    places = np.cumsum([len(ids) + 1 for ids in tokens]) - 1
    separators = int((places < blocks.size).sum())
    kept = blocks.size - separators
    discarded = len(stream) - len(tokens) - kept
    return blocks, Account(kept, discarded, separators)


def _token_arrays(documents: Iterable[Sequence[int]]) -> list[Int[np.ndarray, " t"]]:
    """Each document as an array of integers, checked."""
    if isinstance(documents, str):
        raise TypeError("The documents are text; they must be token ids. Encode them with a tokenizer first.")
    arrays = []
    for number, document in enumerate(documents):
        ids = np.asarray(document)
        if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            raise TypeError(
                f"Document {number} must be a sequence of token ids (integers), but it is a "
                f"{type(document).__name__}: {str(document)[:40]!r}. Encode text with a tokenizer first, and "
                "put a single document into a list."
            )
        arrays.append(ids.astype(np.int64))
    if not arrays:
        raise ValueError("There are no documents to prepare: give at least one sequence of token ids.")
    return arrays


def _check_integer(name: str, value: int, smallest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, but it is {value!r}.")
    if value < smallest:
        raise ValueError(f"{name} must be {smallest} or larger, but it is {value}.")
