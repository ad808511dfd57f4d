"""The lattice of a text: all the ways to cut it into pieces of a vocabulary (Chapter 1).

The unigram model gives each piece ``x`` a probability ``p(x)``, and a segmentation the product of those of
its pieces (Kudo 2018, arXiv:1804.10959, section 3.2). A text of ``n`` characters has up to ``2**(n - 1)``
segmentations, but they are the paths through a small graph: its nodes are the places between characters, and
each piece that occurs in the text is an edge from its start to its end. So the best path, a random path, and
the expected number of uses of each piece over all paths each take one walk along the text.
"""

import math
import random
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int


def viterbi(
    text: str, log_probs: Mapping[str, float], longest: int, unknown: float = -math.inf
) -> tuple[list[str], float]:
    """The most probable segmentation of a text (Viterbi 1967).

    The best way to reach a place is the best way to an earlier place plus one piece. Of two equally good ways
    the one whose last piece is longer stays, as in SentencePiece and Hugging Face's ``tokenizers``.

    Args:
        text: the text to cut.
        log_probs: ``log p`` of each piece.
        longest: number of characters in the longest piece.
        unknown: the score of a single character that is no piece.

    Returns:
        The pieces, whose concatenation is ``text``, and the sum of their scores: ``-inf`` when no
        segmentation exists.
    """
    best = [0.0] + [-math.inf] * len(text)
    came_from = [0] * (len(text) + 1)
    for start in range(len(text)):
        best_here = best[start]
        for end in range(start + 1, min(start + longest, len(text)) + 1):
            score = log_probs.get(text[start:end])
            if score is None:
                if end > start + 1:
                    continue
                score = unknown
            if best_here + score > best[end]:
                best[end] = best_here + score
                came_from[end] = start
    return _follow(text, came_from), best[-1]


def sample(
    text: str,
    log_probs: Mapping[str, float],
    longest: int,
    alpha: float,
    generator: random.Random,
    unknown: float = -math.inf,
) -> list[str]:
    """A random segmentation, drawn with probability proportional to ``P(segmentation) ** alpha``.

    Forward filtering, backward sampling (Kudo 2018, section 3.3): sum over the ways to reach each place, then
    walk back from the end and choose each piece by its share in that sum.

    Args:
        text: the text to cut.
        log_probs: ``log p`` of each piece.
        longest: number of characters in the longest piece.
        alpha: 0 draws all segmentations alike; a large value nearly always draws the best one.
        generator: the source of randomness.
        unknown: the score of a single character that is no piece.

    Returns:
        The pieces, whose concatenation is ``text``.
    """
    total = [0.0] + [-math.inf] * len(text)
    ways: list[list[tuple[int, float]]] = [[] for _ in total]
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - longest), end):
            score = log_probs.get(text[start:end], unknown if end == start + 1 else -math.inf)
            if total[start] + alpha * score > -math.inf:
                ways[end].append((start, total[start] + alpha * score))
        total[end] = float(np.logaddexp.reduce([score for _, score in ways[end]]))
    came_from = [0] * len(total)
    for end in range(len(text), 0, -1):
        shares = [math.exp(score - total[end]) for _, score in ways[end]]
        [(came_from[end], _)] = generator.choices(ways[end], shares)
    return _follow(text, came_from)


def _follow(text: str, came_from: Sequence[int]) -> list[str]:
    """Walk back from the end of the text and return the pieces in reading order."""
    pieces = []
    end = len(text)
    while end:
        pieces.append(text[came_from[end] : end])
        end = came_from[end]
    return pieces[::-1]


class Lattices:
    """The lattices of many texts, held as arrays so that one walk serves them all.

    All edges of all texts are listed in the order of their end within the text: first those that end after one
    character, in every text, then after two, and so on. When the walk comes to an edge, the place where the
    edge starts is done.

    Args:
        texts: distinct texts.
        counts: how often each occurs.
        pieces: the vocabulary; each character of the texts must be a piece.
    """

    def __init__(self, texts: Sequence[str], counts: Sequence[int], pieces: Sequence[str]) -> None:
        ids = {piece: piece_id for piece_id, piece in enumerate(pieces)}
        longest = max(map(len, pieces))
        starts, ends, used, steps = array("i"), array("i"), array("i"), array("i")
        first = 0
        for text in texts:
            for start in range(len(text)):
                for end in range(start + 1, min(start + longest, len(text)) + 1):
                    piece_id = ids.get(text[start:end])
                    if piece_id is not None:
                        starts.append(first + start)
                        ends.append(first + end)
                        used.append(piece_id)
                        steps.append(end)
            first += len(text) + 1
        self._size = first
        self._counts = np.array(counts, dtype=float)
        lengths = np.array([len(text) for text in texts])
        self._last = np.cumsum(lengths + 1) - 1
        edges = np.array([starts, ends, used, steps], dtype=np.int32)
        self._set_edges(edges[:, np.lexsort((edges[1], edges[3]))])

    def _set_edges(self, edges: Int[np.ndarray, "4 edges"]) -> None:
        self._edges = edges
        _, ends, _, steps = edges
        # Edges with one end lie together, a group; `heads` are the first edges of the groups.
        heads = np.flatnonzero(np.r_[True, ends[1:] != ends[:-1]])
        cuts = np.flatnonzero(np.r_[True, steps[1:] != steps[:-1], True])
        self._walk = [
            (slice(a, b), heads[np.searchsorted(heads, a) : np.searchsorted(heads, b)])
            for a, b in pairwise(cuts.tolist())
        ]

    def keep(self, new_ids: Int[np.ndarray, " pieces"]) -> None:
        """Take pieces out of the vocabulary.

        Args:
            new_ids: for each piece its new id, or -1 to remove it. Single characters must stay.
        """
        starts, ends, used, steps = self._edges[:, new_ids[self._edges[2]] >= 0]
        self._set_edges(np.array([starts, ends, new_ids[used], steps], dtype=np.int32))

    def expected_counts(
        self, log_probs: Float[np.ndarray, " pieces"]
    ) -> tuple[Float[np.ndarray, " pieces"], float]:
        """The E-step: how often each piece is used, on average over all segmentations of all texts.

        The forward walk sums the probability of all ways to reach each place. The backward walk starts with
        the count of each text at its end, and at each place divides what has arrived there among the edges
        that end there, each by its share of the forward sum.

        Args:
            log_probs: ``log p`` of each piece.

        Returns:
            The expected number of uses of each piece, and the log-likelihood of the texts: the sum of
            ``count * log P(text)``, in nats.
        """
        starts, ends, used, _ = self._edges
        scores = log_probs[used]
        forward = np.zeros(self._size)
        for step, heads in self._walk:
            arriving = forward[starts[step]] + scores[step]
            forward[ends[heads]] = np.logaddexp.reduceat(arriving, heads - step.start)
        share = np.exp(forward[starts] + scores - forward[ends])
        passing = np.zeros(self._size)
        passing[self._last] = self._counts
        for step, _ in reversed(self._walk):
            share[step] *= passing[ends[step]]
            # No two edges of a step share their start: each text has one end here, and each length once.
            passing[starts[step]] += share[step]
        uses = np.bincount(used, weights=share, minlength=len(log_probs))
        return uses, float(self._counts @ forward[self._last])
