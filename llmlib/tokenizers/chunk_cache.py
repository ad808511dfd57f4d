"""A bounded memory of what has been encoded before: text repeats its words (Chapter 1)."""

from collections.abc import Callable


class ChunkCache(dict[str, tuple[int, ...]]):
    """Token ids of chunks of text, computed at first use.

    A lookup that succeeds runs at the speed of ``dict``. When the cache is full it starts anew.

    Args:
        encode: gives the ids of one chunk.
        limit: chunks to remember at most.
        longest: chunks with more characters are not remembered.
    """

    def __init__(self, encode: Callable[[str], list[int]], limit: int = 1 << 18, longest: int = 64) -> None:
        super().__init__()
        self._encode = encode
        self._limit = limit
        self._longest = longest

    def __missing__(self, chunk: str) -> tuple[int, ...]:
        ids = tuple(self._encode(chunk))
        if len(chunk) <= self._longest:
            if len(self) >= self._limit:
                self.clear()
            self[chunk] = ids
        return ids

    def encode_all(self, chunks: list[str]) -> list[int]:
        """The ids of many chunks, one after the other."""
        ids: list[int] = []
        for ids_of_chunk in map(self.__getitem__, chunks):
            ids += ids_of_chunk
        return ids
