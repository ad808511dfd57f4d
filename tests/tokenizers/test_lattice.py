"""Paths through the lattice, beside the list of all segmentations."""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models

from llmlib.tokenizers.lattice import Lattices, sample, viterbi

TEXT = st.text("abc", min_size=1, max_size=8)


QUARTERS = st.integers(-40, -1).map(lambda quarter: quarter / 4)


@st.composite
def vocabularies(draw, score=QUARTERS):
    """Pieces over a, b and c, each with a score; quarters, so that ties are frequent and sums exact."""
    longer = draw(st.sets(st.text("abc", min_size=2, max_size=4), max_size=10))
    return {piece: draw(score) for piece in ["a", "b", "c", *sorted(longer)]}


def segmentations(text, log_probs):
    """All ways to cut a text into pieces, each with its score, by trying every set of cuts."""
    for bits in range(2 ** (len(text) - 1)):
        cuts = [0, *(place for place in range(1, len(text)) if bits >> (place - 1) & 1), len(text)]
        pieces = [text[start:end] for start, end in pairwise(cuts)]
        if all(piece in log_probs for piece in pieces):
            yield pieces, sum(log_probs[piece] for piece in pieces)


@given(TEXT, vocabularies())
def test_viterbi_finds_the_best_segmentation(text, log_probs):
    pieces, score = viterbi(text, log_probs, longest=4)
    assert "".join(pieces) == text
    assert score == sum(log_probs[piece] for piece in pieces)
    assert score == max(total for _, total in segmentations(text, log_probs))


@given(st.text("abcd", min_size=1, max_size=12), vocabularies())
def test_of_equals_viterbi_takes_the_segmentation_of_hugging_face(text, log_probs):
    vocab = [("<unk>", 0.0), *log_probs.items()]
    reference = [token.value for token in models.Unigram(vocab, 0, False).tokenize(text)]
    pieces, _ = viterbi(text, log_probs, longest=4, unknown=min(score for _, score in vocab) - 10)
    fused = []
    for piece in pieces:  # neighbouring unknown characters are one token there
        if fused and piece == "d" and set(fused[-1]) == {"d"}:
            fused[-1] += piece
        else:
            fused.append(piece)
    assert fused == reference


def test_without_a_score_for_unknown_characters_there_may_be_no_segmentation():
    assert viterbi("ab", {"a": -1.0}, longest=1)[1] == -math.inf
    assert viterbi("", {"a": -1.0}, longest=1) == ([], 0.0)


@given(st.dictionaries(TEXT, st.integers(1, 9), min_size=1, max_size=6), vocabularies(st.floats(-9, -0.1)))
def test_expected_counts_are_those_over_all_segmentations(word_counts, log_probs):
    expected, log_likelihood = Counter(), 0.0
    for word, count in word_counts.items():
        ways = [(pieces, math.exp(score)) for pieces, score in segmentations(word, log_probs)]
        total = sum(probability for _, probability in ways)
        log_likelihood += count * math.log(total)
        for pieces, probability in ways:
            for piece in pieces:
                expected[piece] += count * probability / total
    lattices = Lattices(list(word_counts), list(word_counts.values()), list(log_probs))
    uses, found = lattices.expected_counts(np.array(list(log_probs.values())))
    assert found == pytest.approx(log_likelihood)
    assert uses == pytest.approx([expected[piece] for piece in log_probs])


@given(st.dictionaries(TEXT, st.integers(1, 9), min_size=1, max_size=6), vocabularies(), st.data())
def test_pieces_can_be_taken_out(word_counts, log_probs, data):
    words, counts, pieces = list(word_counts), list(word_counts.values()), list(log_probs)
    kept = [piece for piece in pieces if len(piece) == 1 or data.draw(st.booleans())]
    lattices = Lattices(words, counts, pieces)
    lattices.keep(np.array([kept.index(piece) if piece in kept else -1 for piece in pieces]))
    scores = np.array([log_probs[piece] for piece in kept])
    uses, log_likelihood = lattices.expected_counts(scores)
    uses_of_new, log_likelihood_of_new = Lattices(words, counts, kept).expected_counts(scores)
    assert uses == pytest.approx(uses_of_new)
    assert log_likelihood == pytest.approx(log_likelihood_of_new)


def test_long_texts_do_not_underflow():
    lattices = Lattices(["ab" * 5000], [3], ["a", "b", "ab"])
    uses, log_likelihood = lattices.expected_counts(np.log([0.25, 0.25, 0.5]))
    # Each "ab" is one piece (1/2) or two (1/16), whatever the others are.
    assert log_likelihood == pytest.approx(3 * 5000 * math.log(1 / 2 + 1 / 16))
    assert uses == pytest.approx(3 * 5000 * np.array([1 / 9, 1 / 9, 8 / 9]))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_samples_come_with_the_probability_of_the_segmentation_to_the_power_alpha(alpha):
    log_probs = {"a": -1.0, "b": -2.0, "ab": -2.5, "ba": -1.5, "aba": -4.0}
    weights = {tuple(pieces): math.exp(alpha * score) for pieces, score in segmentations("abab", log_probs)}
    generator = random.Random(0)
    drawn = Counter(tuple(sample("abab", log_probs, 3, alpha, generator)) for _ in range(20_000))
    assert drawn.keys() == weights.keys()
    for pieces, weight in weights.items():
        probability = weight / sum(weights.values())
        # Four standard deviations of a binomial share.
        assert abs(drawn[pieces] / 20_000 - probability) < 4 * math.sqrt(
            probability * (1 - probability) / 20_000
        )


def test_unknown_characters_can_be_sampled():
    assert sample("xay", {"a": -1.0}, 1, 1.0, random.Random(0), unknown=-11.0) == ["x", "a", "y"]
