"""What every tokenizer checks of its input before it begins."""

import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def texts_of(texts: Iterable[str]) -> Iterator[str]:
    """Pass the texts of a corpus on, one by one.

    Raises:
        TypeError: ``texts`` is one string, whose characters would each count as a text, or an item is no
            string.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be an iterable of strings, not one string: pass [text]")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts must hold strings, but item {number} is {type(text).__name__}")
        yield text


def token_ids(ids: Iterable[Any], vocab_size: int) -> list[int]:
    """Token ids as a list of ``int``, from any sequence of integers: lists, NumPy arrays, PyTorch tensors.

    Raises:
        TypeError: ``ids`` is no sequence of integers.
        ValueError: an id that the vocabulary does not have.
    """
    try:
        items = list(getattr(ids, "tolist", lambda: ids)())
        numbers = list(map(operator.index, items))
    except TypeError:
        raise TypeError(f"expected one sequence of integer token ids, not {ids!r:.80}") from None
    if bool in set(map(type, items)):
        raise TypeError(f"token ids must be integers, not truth values as in {ids!r:.80}")
    for number in numbers:
        if not 0 <= number < vocab_size:
            raise ValueError(
                f"token id {number} is outside the vocabulary of {vocab_size} tokens (0 to {vocab_size - 1})"
            )
    return numbers


def special_names(names: Sequence[str], unk_token: str) -> list[str]:
    """The names of special tokens, with the unknown token in front if it is missing.

    Raises:
        TypeError: ``names`` is one string.
        ValueError: a name occurs twice.
    """
    if isinstance(names, str):
        raise TypeError(f"special_tokens must be a list of names: pass [{names!r}]")
    if len(set(names)) < len(names):
        raise ValueError(f"a name occurs twice in special_tokens: {list(names)}")
    return list(names if unk_token in names else [unk_token, *names])
