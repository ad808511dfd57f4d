"""Learning the merges of byte-pair encoding, fast (Chapter 1).

The algorithm is the plain one (Sennrich, Haddow and Birch 2016, arXiv:1508.07909, algorithm 1): count the
pairs of neighbours, merge the most frequent pair everywhere, repeat. Three observations make it fast:

- Text repeats its words. Each distinct word is kept once, and its pairs count as often as the word occurs.
- A merge touches few words. Each pair knows its places, the words that hold it: only those are rewritten, and
  only the pairs beside the merge change their counts.
- Only the most frequent pair is wanted, so a heap will do. Counts fall as neighbours merge; an entry whose
  count is out of date goes back into the heap with the true one when it comes up.

A word is a ``str`` whose characters are token ids (``chr(id)``), so that the work on it runs at the speed of C.
A pair is a string of two characters. Strings sort like lists of ids: among equal counts the lower ids win.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import add

from llmlib.tokenizers.byte_level import BYTE_ORDER

_MAX_VOCAB_SIZE = 0x110000  # there are no more characters
_TO_IDS = bytes(BYTE_ORDER.index(byte) for byte in range(256))


def spell(word: bytes) -> str:
    """Write a word as the trainer reads it: a string of the ids of its bytes."""
    return word.translate(_TO_IDS).decode("latin-1")


def learn_merges(
    words: list[str], counts: Sequence[int], vocab_size: int, min_frequency: int = 1
) -> Iterator[tuple[int, int]]:
    """Learn merges, the most frequent first, until the vocabulary is full or no pair is left.

    The ids 0 to 255 are the bytes in the order of :data:`~llmlib.tokenizers.byte_level.BYTE_ORDER`; each merge
    makes the token with the next id. The merges are those of Hugging Face's ``BpeTrainer``, one by one.

    Args:
        words: the distinct words, as :func:`spell` writes them. Every merge is applied to them in place: at the end
            they are cut into the tokens of the vocabulary.
        counts: how often each word occurs.
        vocab_size: number of tokens to reach, the 256 bytes included.
        min_frequency: a pair that occurs less often is not merged.

    Yields:
        The ids of the two tokens that merge.

    Raises:
        ValueError: ``vocab_size`` is more than 1,114,112.
    """
    if vocab_size > _MAX_VOCAB_SIZE:
        raise ValueError(
            f"vocab_size is {vocab_size}: this trainer can make {_MAX_VOCAB_SIZE} tokens at most"
        )
    places: defaultdict[str, list[int]] = defaultdict(list)
    for index, word in enumerate(words):
        for pair in map(add, word, word[1:]):
            places[pair].append(index)
    pair_counts = {pair: _total(counts, where) for pair, where in places.items()}
    heap = [(-pair_counts[pair], pair, where) for pair, where in places.items()]
    heapq.heapify(heap)

    new_id = len(BYTE_ORDER)
    while heap and new_id < vocab_size:
        negative_count, pair, where = heap[0]
        count = pair_counts[pair]
        if count != -negative_count:
            heapq.heapreplace(heap, (-count, pair, where))
            continue
        if count < max(min_frequency, 1):
            return
        heapq.heappop(heap)
        yield ord(pair[0]), ord(pair[1])
        new_places = _merge(words, counts, where, pair, chr(new_id), pair_counts)
        for new_pair, new_where in new_places.items():
            heapq.heappush(heap, (-pair_counts[new_pair], new_pair, new_where))
        new_id += 1


def _merge(
    words: list[str],
    counts: Sequence[int],
    where: list[int],
    pair: str,
    merged: str,
    pair_counts: dict[str, int],
) -> dict[str, list[int]]:
    """Merge a pair in its words, bring the pair counts up to date, and give the places of the new pairs."""
    before: defaultdict[str, list[int]] = defaultdict(list)  # the token before the pair -> its words
    behind: defaultdict[str, list[int]] = defaultdict(list)
    for index in where:
        done, found, rest = words[index].partition(pair)
        while found:
            if done:
                before[done[-1]].append(index)
            if rest:
                behind[rest[0]].append(index)
            between, found, rest = rest.partition(pair)
            done += merged + between
        words[index] = done
    left, right = pair[0], pair[1]
    new_places = {}
    for neighbour, where in behind.items():
        pair_counts[merged + neighbour] = count = _total(counts, where)
        pair_counts[right + neighbour] -= count
        new_places[merged + neighbour] = where
    for neighbour, where in before.items():
        pair_counts[neighbour + merged] = count = _total(counts, where)
        pair_counts[neighbour + left] -= count
        new_places[neighbour + merged] = where
    return new_places


def _total(counts: Sequence[int], where: list[int]) -> int:
    """How often the words at some places occur, taken together."""
    return sum(map(counts.__getitem__, where))
