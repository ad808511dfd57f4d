"""When a text ends: at a token, or at a string, wherever the borders of its tokens are (Chapter 8)."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor


def check_stop_ids(ids: list[Any], vocab_size: int | None) -> list[int]:
    """The tokens after which a text ends, if they are tokens.

    Raises:
        TypeError: One is no whole number.
        ValueError: One is not in the vocabulary.
    """
    if any(isinstance(token, bool) or not isinstance(token, int) for token in ids):
        raise TypeError(f"What a text stops at must be token ids, or strings for generate, but got {ids!r}.")
    if vocab_size is not None and any(not 0 <= token < vocab_size for token in ids):
        raise ValueError(f"stop must hold token ids from 0 to {vocab_size - 1}, but got {ids!r}.")
    return ids


class Stop:
    """Watches texts as they grow, and says which have ended (Chapter 8).

    Args:
        stop: The token, the string, or several of either, after which a text ends; None for nothing.
        tokenizer: What turns the new tokens into text, for strings.
        vocab_size: V, or None where it is not known.
        batch: B, how many texts grow together.
        device: Where their tokens are.

    Attributes:
        ended: Which texts have ended, (B).
        lengths: How many new tokens each text has got until it ended, (B).

    Raises:
        TypeError: ``stop`` holds something else.
        ValueError: A token is not in the vocabulary, a string is empty, or there is no tokenizer for it.
    """

    def __init__(
        self,
        stop: int | str | Collection[int | str] | None,
        tokenizer: Any,
        vocab_size: int | None,
        batch: int,
        device: torch.device,
    ) -> None:
        wanted = [stop] if isinstance(stop, int | str) else list(stop or ())
        strings = [item for item in wanted if isinstance(item, str)]
        ids = check_stop_ids([item for item in wanted if not isinstance(item, str)], vocab_size)
        if "" in strings:
            raise ValueError("stop holds an empty string, with which every text would end at once.")
        if strings and tokenizer is None:
            raise ValueError(f"To find {strings[0]!r} in the text, pass tokenizer=, the model's tokenizer.")
        self._ids = torch.tensor(ids, dtype=torch.long, device=device)
        self._strings = [string.encode() for string in strings]
        self._tokenizer = tokenizer
        self._written: list[list[int]] = [[] for _ in range(batch)]
        self._nothing = not wanted
        self.ended = torch.zeros(batch, dtype=torch.bool, device=device)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)

    def see(self, tokens: Int[Tensor, " B"]) -> bool:
        """Look at the next token of each text.

        Returns:
            Whether all texts have ended.
        """
        self.lengths += ~self.ended
        if self._nothing:  # nor is there anything to ask the device
            return False
        ended = torch.isin(tokens, self._ids)
        if self._strings:
            found = [self._finds(b, token) for b, token in enumerate(tokens.tolist())]
            ended |= torch.tensor(found, device=tokens.device)
        self.ended |= ended
        return bool(self.ended.all())

    def _finds(self, b: int, token: int) -> bool:
        self._written[b].append(token)
        # All the new tokens: where a string begins in one and ends in another, only their text together shows it.
        if hasattr(self._tokenizer, "decode_bytes"):
            text = self._tokenizer.decode_bytes(self._written[b])
        else:
            text = self._tokenizer.decode(self._written[b]).encode()
        return any(string in text for string in self._strings)
