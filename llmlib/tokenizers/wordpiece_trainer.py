"""Training of WordPiece: which two pieces become one next (Chapter 1).

Training starts from single characters and joins neighbours, one pair at a time, as byte-pair encoding does.
Two rules for the pair are in use:

- ``"frequency"``: the most frequent pair. This is what Hugging Face's ``WordPieceTrainer`` runs: byte-pair
  encoding with ``##`` marks.
- ``"likelihood"``: the pair with the highest ``freq(ab) / (freq(a) * freq(b))``, the one whose parts occur
  least without each other. This is the rule of the textbooks. Its logarithm is what one joining of ``ab``
  gains in log-likelihood, up to a constant; how often ``ab`` can be joined does not count, so rare characters
  go first.

Google never published its trainer. Schuster and Nakajima (2012, "Japanese and Korean voice search") say only
that of all new pieces it takes the one that raises the likelihood of the training data most.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

Rule: TypeAlias = Literal["frequency", "likelihood"]

PREFIX = "##"
"""The mark of a piece that continues a word."""


def characters(word_counts: Mapping[str, int], limit: int | None = None) -> list[str]:
    """The pieces to start from: each character, then with a mark each character that continues a word.

    Args:
        word_counts: how often each word occurs.
        limit: keep only this many characters, the most frequent; of equals, the lowest code points.
    """
    counts: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            counts[character] += count
    kept = set(sorted(counts, key=lambda character: (-counts[character], character))[:limit])
    continuing = kept & {character for word in word_counts for character in word[1:]}
    return sorted(kept) + [PREFIX + character for character in sorted(continuing)]


def learn_pieces(
    word_counts: Mapping[str, int], start: Sequence[str], rule: Rule = "frequency", min_frequency: int = 2
) -> Iterator[str]:
    """Learn new pieces, each by joining the pair with the highest score, until no pair is frequent enough.

    Of equal scores the pair with the lower ids is taken. So does Hugging Face's trainer, but it numbers the
    ``##`` characters in the order of a hash table, which changes from run to run, and with it the choice
    among equals.

    Args:
        word_counts: how often each word occurs; pieces stay inside words.
        start: the pieces to start from, by id: special tokens and :func:`characters`. A character that is not
            among them is skipped.
        rule: ``"frequency"`` or ``"likelihood"``.
        min_frequency: a pair that occurs less often is not joined.

    Yields:
        The new pieces, which get the next ids.
    """
    pieces = list(start)
    id_of = {piece: chr(index) for index, piece in enumerate(pieces)}
    corpus = _Corpus(word_counts, id_of)

    def score(pair: str) -> float:
        together = corpus.pair_counts[pair]
        if rule == "frequency":
            return together
        return together / (corpus.piece_counts[pair[0]] * corpus.piece_counts[pair[1]])

    # The queue holds each pair with its score, and also old scores, which are passed over when they come up.
    queue: list[tuple[float, str]] = []

    def enqueue(pairs: Iterable[str]) -> None:
        for pair in pairs:
            if corpus.pair_counts[pair] >= max(min_frequency, 1):
                heapq.heappush(queue, (-score(pair), pair))

    enqueue(corpus.pair_counts)
    while queue:
        negative_score, pair = heapq.heappop(queue)
        if corpus.pair_counts[pair] < max(min_frequency, 1) or score(pair) != -negative_score:
            continue
        new = pieces[ord(pair[0])] + pieces[ord(pair[1])].removeprefix(PREFIX)
        if new not in id_of:  # a+bc and ab+c spell one piece
            id_of[new] = chr(len(pieces))
            pieces.append(new)
            yield new
        changed, joined = corpus.join(pair, id_of[new])
        if rule == "likelihood":  # both parts have become rarer, so all pairs with them score higher
            changed |= corpus.pairs_with[pair[0]] | corpus.pairs_with[pair[1]]
        else:  # Hugging Face's trainer leaves joined pairs in their count, which tells if one comes up again
            corpus.pair_counts[pair] += joined
        enqueue(changed)


class _Corpus:
    """Words as sequences of pieces, with the counts that the scores need.

    A word is a ``str`` whose characters are piece ids, ``chr(id)``, so that joining a pair is
    ``str.replace``.
    """

    def __init__(self, word_counts: Mapping[str, int], id_of: Mapping[str, str]) -> None:
        self._counts = list(word_counts.values())
        self._words = []
        for word in word_counts:
            marked = [word[:1], *(PREFIX + character for character in word[1:])]
            self._words.append("".join([id_of[piece] for piece in marked if piece in id_of]))
        self.piece_counts: Counter[str] = Counter()
        self.pair_counts: Counter[str] = Counter()
        self.pairs_with: defaultdict[str, set[str]] = defaultdict(set)  # piece -> the pairs that hold it
        self._places: defaultdict[str, set[int]] = defaultdict(set)  # pair -> the words that hold it
        for index in range(len(self._words)):
            self._count(index, 1)

    def join(self, pair: str, new: str) -> tuple[set[str], int]:
        """Join a pair everywhere; give the pairs whose counts have changed, and how often it was joined."""
        changed: set[str] = set()
        joined = 0
        for index in self._places.pop(pair, ()):
            word = self._words[index]
            changed |= self._count(index, -1)
            self._words[index] = word.replace(pair, new)
            changed |= self._count(index, 1)
            joined += self._counts[index] * (len(word) - len(self._words[index]))
        for gone in changed:
            if not self.pair_counts[gone]:
                self.pairs_with[gone[0]].discard(gone)
                self.pairs_with[gone[1]].discard(gone)
        return changed, joined

    def _count(self, index: int, sign: int) -> set[str]:
        """Add the pieces and pairs of a word to the counts, or take them off; give the pairs."""
        word, count = self._words[index], sign * self._counts[index]
        for piece in word:
            self.piece_counts[piece] += count
        pairs = [left + right for left, right in pairwise(word)]
        for pair in pairs:
            self.pair_counts[pair] += count
            if sign > 0:
                self._places[pair].add(index)
                self.pairs_with[pair[0]].add(pair)
                self.pairs_with[pair[1]].add(pair)
        return set(pairs)
