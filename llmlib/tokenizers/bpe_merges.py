"""Applying learned merges to a word (Chapter 1)."""

import heapq
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TypeAlias

Pair: TypeAlias = tuple[int, int]

_LONG = 128  # ids; from here on a heap is quicker than looking through the word
_NEVER = 1 << 62  # the rank of a pair that does not merge
_GONE = -1  # stands where an id was that has merged into its left neighbour


class Merges:
    """The merges of a tokenizer, in the order in which they were learned. A merge's rank is its place there.

    The rule is GPT-2's, and that of Hugging Face's ``tokenizers``: of all neighbours in the word, merge the pair
    of lowest rank, and of equal ones the leftmost; repeat until no two neighbours merge.

    Args:
        products: each pair of ids with the id that it merges into, in order.
        vocab_size: number of ids.

    Attributes:
        pairs: the pairs of ids, in order.
    """

    def __init__(self, products: Mapping[Pair, int], vocab_size: int) -> None:
        self.pairs = list(products)
        self._products = list(products.values())
        self._ranks = {pair: rank for rank, pair in enumerate(self.pairs)}
        # The ranks once more, a dictionary of right ids for each left id: it saves making a pair for each look.
        rows: list[dict[int, int]] = [{} for _ in range(vocab_size)]
        for (left, right), rank in self._ranks.items():
            rows[left][right] = rank
        self._rank_behind = [row.get for row in rows]

    def apply(self, ids: list[int]) -> list[int]:
        """Merge the ids of a word's bytes as far as they go.

        The rank of each pair stands in a list, and the lowest is looked up. That takes O(n²) steps for n bytes, few
        for the words of a text; a long word goes another way, in O(n log n).
        """
        if len(ids) >= _LONG:
            return self._apply_with_heap(ids)
        ids = ids.copy()
        rank_behind, products = self._rank_behind, self._products
        ranks = [rank_behind[left](right, _NEVER) for left, right in pairwise(ids)]
        while ranks and (rank := min(ranks)) != _NEVER:
            i = ranks.index(rank)
            ids[i] = merged = products[rank]
            del ids[i + 1], ranks[i]
            if i > 0:
                ranks[i - 1] = rank_behind[ids[i - 1]](merged, _NEVER)
            if i < len(ranks):
                ranks[i] = rank_behind[merged](ids[i + 1], _NEVER)
        return ids

    def steps(self, ids: list[int]) -> Iterator[list[int]]:
        """The plain algorithm, which shows its work: the ids, and then the ids after each merge."""
        yield ids
        while known := [pair for pair in pairwise(ids) if pair in self._ranks]:
            rank = min(self._ranks[pair] for pair in known)
            i = list(pairwise(ids)).index(self.pairs[rank])
            ids = [*ids[:i], self._products[rank], *ids[i + 2 :]]
            yield ids

    def _apply_with_heap(self, ids: list[int]) -> list[int]:
        """Keep the pairs in a heap, and the neighbours in a linked list: O(n log n)."""
        size = len(ids)
        # One id more at the end: so the last one has a neighbour, and so has the first one, at index -1.
        ids = [*ids, _GONE]
        before = list(range(-1, size))
        behind = list(range(1, size + 2))
        rank_of = self._ranks.get
        # Rank and place are one number, so that the heap compares both at once.
        heap = [
            rank * size + i for i, pair in enumerate(pairwise(ids)) if (rank := rank_of(pair)) is not None
        ]
        heapq.heapify(heap)
        while heap:
            rank, i = divmod(heapq.heappop(heap), size)
            j = behind[i]
            if rank_of((ids[i], ids[j])) != rank:
                continue  # one of the two has merged with its other neighbour
            ids[i], ids[j] = self._products[rank], _GONE
            behind[i] = behind[j]
            before[behind[j]] = i
            for left, right in (before[i], i), (i, behind[i]):
                new_rank = rank_of((ids[left], ids[right]))
                if new_rank is not None:
                    heapq.heappush(heap, new_rank * size + left)
        return [token_id for token_id in ids if token_id != _GONE]
