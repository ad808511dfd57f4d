"""Training of the unigram model: fit too many pieces, and drop those that are missed least (Chapter 1).

The method of Kudo 2018 (arXiv:1804.10959, section 3.2), which SentencePiece and Hugging Face's
``UnigramTrainer`` run too. Four simplifications keep it short:

- It starts from ten substrings for each piece wanted; the others from a million.
- The M-step divides by the sum, which is plain maximum likelihood; the others take a Bayesian variant that
  favours few pieces.
- The loss of a piece uses its expected count; the others count it in the best segmentations only.
- The vocabulary shrinks to its final size by loss alone; the others stop at 1.1 times the size, and take the
  rest off by probability.
"""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from llmlib.tokenizers.lattice import Lattices, viterbi

LONGEST_PIECE = 16
"""Characters in the longest piece, as in SentencePiece."""


def train_unigram(
    word_counts: Mapping[str, int],
    size: int,
    shrinking_factor: float = 0.75,
    em_steps: int = 2,
    seeds_per_piece: int = 10,
    progress: bool = False,
) -> dict[str, float]:
    """Choose the pieces of a unigram model and fit their probabilities.

    Args:
        word_counts: the distinct words of the text and how often each occurs.
        size: number of pieces wanted. There are fewer when the text has not that many repeated substrings.
        shrinking_factor: share of the pieces that stays in each round of pruning.
        em_steps: EM steps between two prunings.
        seeds_per_piece: how many repeated substrings to start from for each piece wanted.
        progress: show a progress bar.

    Returns:
        ``log p`` of each piece, most probable first; the probabilities sum to 1. Every character of the words
        is a piece, so that each word has a segmentation.

    Raises:
        ValueError: ``size`` is smaller than the number of different characters.
    """
    counts = seed_pieces(word_counts, seeds_per_piece * size)
    pieces = list(counts)
    if size < (characters := sum(len(piece) == 1 for piece in pieces)):
        raise ValueError(f"{size} pieces cannot hold the {characters} different characters of the text")
    bar = tqdm(desc="Pruning pieces", total=max(0, len(pieces) - size), disable=not progress)
    log_probs = _normalized(np.array([count * len(piece) for piece, count in counts.items()], dtype=float))
    lattices = Lattices(list(word_counts), list(word_counts.values()), pieces)
    while True:
        for _ in range(em_steps):
            uses, _ = lattices.expected_counts(log_probs)
            log_probs = _normalized(uses)
        if len(pieces) <= size:
            break
        losses = pruning_losses(dict(zip(pieces, log_probs.tolist(), strict=True)), uses)
        keep = np.sort(np.argsort(-losses, kind="stable")[: max(size, int(len(pieces) * shrinking_factor))])
        new_ids = np.full(len(pieces), -1)
        new_ids[keep] = np.arange(len(keep))
        lattices.keep(new_ids)
        bar.update(len(pieces) - len(keep))
        pieces = [pieces[index] for index in keep]
        log_probs = _normalized(np.exp(log_probs[keep]))
    bar.close()
    # A character that the text has only inside longer pieces still needs a fair probability in other text.
    scores = zip(pieces, _normalized(np.maximum(uses, 0.5)).tolist(), strict=True)
    return dict(sorted(scores, key=lambda item: (-item[1], item[0])))


def seed_pieces(
    word_counts: Mapping[str, int], seed_size: int, longest: int = LONGEST_PIECE
) -> dict[str, int]:
    """All characters, and the substrings that cover most text: those with the highest count times length.

    A substring that occurs only inside one longer substring is left out: the longer one stands for both.

    Args:
        word_counts: the distinct words and their counts.
        seed_size: number of substrings to keep.
        longest: characters in the longest substring.

    Returns:
        The count of each piece.
    """
    characters: Counter[str] = Counter()
    for word, count in word_counts.items():
        for character in word:
            characters[character] += count
    repeated: dict[str, int] = {}
    shorter: Mapping[str, int] = characters
    for length in range(2, longest + 1):
        counts: Counter[str] = Counter()
        for word, count in word_counts.items():
            for start in range(len(word) - length + 1):
                # No substring is more frequent than its parts: only what begins with a repeated one can be.
                if word[start : start + length - 1] in shorter:
                    counts[word[start : start + length]] += count
        shorter = {substring: count for substring, count in counts.items() if count > 1}
        for substring, count in shorter.items():
            for part in (substring[:-1], substring[1:]):
                if repeated.get(part) == count:
                    del repeated[part]
        repeated.update(shorter)
    best = sorted(repeated, key=lambda piece: (-repeated[piece] * len(piece), piece))[:seed_size]
    return {**dict(sorted(characters.items())), **{piece: repeated[piece] for piece in best}}


def pruning_losses(
    log_probs: Mapping[str, float], uses: Float[np.ndarray, " pieces"]
) -> Float[np.ndarray, " pieces"]:
    """How much log-likelihood the text would lose without each piece, roughly.

    Without ``x``, each of its uses would be spelt with the best segmentation of ``x`` into other pieces, so
    the loss is ``uses(x) * (log p(x) - log P(best other segmentation of x))``.

    Args:
        log_probs: ``log p`` of each piece.
        uses: the expected number of uses of each piece.

    Returns:
        One loss for each piece, in nats; infinite for single characters, which must stay.
    """
    losses = np.full(len(log_probs), math.inf)
    for index, (piece, log_prob) in enumerate(log_probs.items()):
        if len(piece) > 1:
            _, other = viterbi(piece, log_probs, longest=len(piece) - 1)
            losses[index] = uses[index] * (log_prob - other)
    return losses


def _normalized(weights: Float[np.ndarray, " pieces"]) -> Float[np.ndarray, " pieces"]:
    """The M-step: probabilities in proportion to the weights, as logarithms, kept finite."""
    weights = np.maximum(weights, 1e-12)
    return np.log(weights / weights.sum())
