"""KneserNey against Chen and Goodman's formulae, written down as they stand and counted by brute force."""

import math
import random
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmlib.models.ngram import FALLBACK_DISCOUNT, KneserNey

TOY = "a rose is a rose is a rose is a nose and a nose is on a rose and on a nose and on the rose"
WORDS = sorted(set(TOY.split()))
IDS = [WORDS.index(word) for word in TOY.split()]
VOCAB_SIZE = len(WORDS) + 2  # two tokens that the text does not have


def occurrences(text, gram):
    """c(gram): how often the words of ``gram`` stand in the text, one after the other."""
    return sum(tuple(text[i : i + len(gram)]) == gram for i in range(len(text) - len(gram) + 1))


def different_words_before(text, gram, vocabulary):
    """N1+(• gram): how many different words stand before ``gram``."""
    return sum(occurrences(text, (word, *gram)) > 0 for word in vocabulary)


@cache
def counts_of_all(text, vocabulary, order, highest):
    grams = product(vocabulary, repeat=order)
    if highest:
        return {gram: occurrences(text, gram) for gram in grams}
    return {gram: different_words_before(text, gram, vocabulary) for gram in grams}


def chen_goodman(text, vocabulary, word, context, order, highest=True):
    """P(word | context) in exact fractions: Chen and Goodman 1999, sections 2.6 and 2.7, interpolated."""

    below = Fraction(1, len(vocabulary))
    if order > 1:
        below = chen_goodman(text, vocabulary, word, context[1:], order - 1, highest=False)
    counts = counts_of_all(text, vocabulary, order, highest)
    once, twice = (sum(c == i for c in counts.values()) for i in (1, 2))
    discount = Fraction(once, once + 2 * twice) if once else Fraction(FALLBACK_DISCOUNT)
    after = {other: counts[(*context, other)] for other in vocabulary}
    total = sum(after.values())
    if total == 0:
        return below
    followers = sum(c > 0 for c in after.values())
    return max(after[word] - discount, Fraction(0)) / total + discount * followers / total * below


@pytest.mark.parametrize("order", [1, 2, 3])
def test_every_probability_is_the_one_of_the_formula(order):
    model = KneserNey.fit(IDS, VOCAB_SIZE, order)
    vocabulary = range(VOCAB_SIZE)
    for context in product(vocabulary, repeat=order - 1):
        expected = [float(chen_goodman(tuple(IDS), vocabulary, word, context, order)) for word in vocabulary]
        np.testing.assert_allclose(model.distribution(context), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [4, 5])
def test_long_contexts_follow_the_formula_too(order):
    text = tuple(int(bit) for bit in "0110100110010110100101100110100101")
    model = KneserNey.fit(text, 2, order)
    for context in product(range(2), repeat=order - 1):
        expected = [float(chen_goodman(text, range(2), word, context, order)) for word in range(2)]
        np.testing.assert_allclose(model.distribution(context), expected, rtol=1e-12)


def test_a_probability_by_hand():
    """In "0 1 0 2", each pair is seen once, so D = 1 takes all of it and the pairs say nothing.

    Below them, 0 and 1 and 2 each follow one token: D = 1 again, and the uniform distribution is left.
    """
    model = KneserNey.fit([0, 1, 0, 2], 3, order=2)
    assert model.discounts == (1.0, 1.0)
    np.testing.assert_allclose(model.distribution([0]), [1 / 3, 1 / 3, 1 / 3])


def test_a_given_discount_by_hand():
    """After 0 come 1 and 2, once each. P(1 | 0) = (1 − ½)/2 + (½·2/2)·((1 − ½)/3 + (½·3/3)·⅓) = 5/12."""
    model = KneserNey.fit([0, 1, 0, 2], 3, order=2, discount=0.5)
    np.testing.assert_allclose(model.distribution([0]), [1 / 6, 5 / 12, 5 / 12])


def test_francisco_is_frequent_but_follows_only_san():
    """What Kneser and Ney are about: lower orders count the tokens before a token, not its occurrences."""
    san, francisco, city, *others = range(8)
    text = [san, francisco] * 20
    for other in others:
        text += [other, city]
    model = KneserNey.fit(text, 8, order=2)
    by_occurrence = KneserNey.fit(text, 8, order=1).distribution([])
    assert by_occurrence[francisco] > by_occurrence[city]
    after_san = model.distribution([san])
    assert after_san[francisco] > after_san[city]
    elsewhere = model.distribution([city])
    assert elsewhere[francisco] < elsewhere[city]


texts = st.integers(2, 6).flatmap(
    lambda vocab_size: st.tuples(
        st.just(vocab_size), st.lists(st.integers(0, vocab_size - 1), min_size=5, max_size=60)
    )
)


@given(texts, st.integers(1, 5), st.data())
def test_probabilities_sum_to_one_after_any_context(vocab_size_and_text, order, data):
    vocab_size, text = vocab_size_and_text
    model = KneserNey.fit(text, vocab_size, order)
    context = data.draw(st.lists(st.integers(0, vocab_size - 1), max_size=7))
    probabilities = model.distribution(context)
    assert math.isclose(probabilities.sum(), 1, rel_tol=1e-12)
    assert (probabilities > 0).all()


@given(texts, st.integers(1, 5), st.data())
def test_a_sequence_is_scored_token_by_token(vocab_size_and_text, order, data):
    vocab_size, text = vocab_size_and_text
    model = KneserNey.fit(text, vocab_size, order)
    ids = data.draw(st.lists(st.integers(0, vocab_size - 1), min_size=1, max_size=12))
    one_by_one = [math.log(model.distribution(ids[:t])[ids[t]]) for t in range(1, len(ids))]
    np.testing.assert_allclose(model.log_probabilities(ids), one_by_one, rtol=1e-12)


def test_the_call_gives_log_probabilities_in_the_shape_of_logits():
    random.seed(1)
    model = KneserNey.fit(random.choices(range(9), k=200), 9, order=3)
    ids = torch.randint(9, (2, 6))
    log_probabilities = model(ids)
    assert log_probabilities.shape == (2, 6, 9)
    assert log_probabilities.dtype == torch.float32
    for b, t in product(range(2), range(6)):
        expected = np.log(model.distribution(ids[b, : t + 1].tolist()))
        np.testing.assert_allclose(log_probabilities[b, t].numpy(), expected, rtol=1e-6)


def test_tensors_arrays_and_lists_are_one():
    from_list = KneserNey.fit(IDS, VOCAB_SIZE, 3)
    for same in (np.array(IDS, dtype=np.uint16), torch.tensor(IDS)):
        model = KneserNey.fit(same, VOCAB_SIZE, 3)
        np.testing.assert_array_equal(model.log_probabilities(same), from_list.log_probabilities(IDS))


def test_a_text_with_no_single_occurrence_falls_back_to_a_fixed_discount():
    model = KneserNey.fit([0, 1, 0, 1, 0, 1], 3, order=1)
    assert model.discounts == (FALLBACK_DISCOUNT,)
    assert (model.distribution([]) > 0).all()


def test_parameters_are_the_stored_numbers():
    """Of "0 1 0 2" with V = 3: 3 tokens and 3 pairs, and what 3 tokens and the empty context leave."""
    assert KneserNey.fit([0, 1, 0, 2], 3, order=2).num_parameters() == 3 + 3 + 3 + 1


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "order must be 1 or more", {"order": 0}),
        (ValueError, "no 5-gram", {"ids": [0, 1, 2, 0]}),
        (ValueError, "discount must be above 0", {"discount": 0.0}),
        (ValueError, "Token id 3 is outside the vocabulary of 3", {"ids": [0, 1, 2, 3, 0, 1]}),
        (ValueError, "Token id -1", {"ids": [0, 1, 2, -1, 0, 1]}),
        (TypeError, "float64", {"ids": [0.0, 1.0, 2.0, 0.0, 1.0]}),
        (TypeError, r"shape \(1, 6\)", {"ids": [[0, 1, 2, 0, 1, 2]]}),
    ],
)
def test_bad_input_is_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        KneserNey.fit(**{"ids": [0, 1, 2, 0, 1, 2], "vocab_size": 3, **arguments})


def test_bad_contexts_are_refused():
    model = KneserNey.fit([0, 1, 2, 0, 1, 2], 3)
    with pytest.raises(ValueError, match="Token id 7"):
        model.distribution([0, 7])
    with pytest.raises(ValueError, match="Token id 7"):
        model.log_probabilities([0, 7])


@pytest.mark.usefixtures("unchecked")
def test_one_row_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"shape \(B, T\)"):
        KneserNey.fit([0, 1, 2, 0, 1, 2], 3)(torch.tensor([0, 1]))
