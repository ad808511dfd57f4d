"""Applying merges, beside Hugging Face's BPE model. Any merges will do, not only those that training gives."""

import random

from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import models

from llmlib.tokenizers.bpe_merges import _LONG, Merges


def both(choices) -> tuple[Merges, models.BPE, list[str]]:
    """Merges of pairs that are chosen by number among the tokens so far; a few may spell a token that exists."""
    tokens = ["a", "b", "c"]
    products = {}
    for left, right in choices:
        pair = left % len(tokens), right % len(tokens)
        token = tokens[pair[0]] + tokens[pair[1]]
        if pair not in products and len(token) < 20:
            if token not in tokens:
                tokens.append(token)
            products[pair] = tokens.index(token)
    names = [(tokens[left], tokens[right]) for left, right in products]
    reference = models.BPE({token: i for i, token in enumerate(tokens)}, names)
    return Merges(products, len(tokens)), reference, tokens


CHOICES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=25)


def ids_of(word: str) -> list[int]:
    return ["abc".index(character) for character in word]


@given(CHOICES, st.text("abc", min_size=1, max_size=40), st.integers(1, 8))
@example([(0, 0), (3, 0), (0, 3)], "a", 3 * _LONG)
def test_any_merges_of_any_word_are_those_of_hugging_face(choices, word, repeats):
    """Words on both sides of the length at which the algorithm changes."""
    merges, reference, _ = both(choices)
    for text in (word, word * repeats):
        expected = [token.id for token in reference.tokenize(text)]
        assert merges.apply(ids_of(text)) == expected
        *_, last = merges.steps(ids_of(text[:50]))
        assert last == [token.id for token in reference.tokenize(text[:50])]


def test_the_two_ways_to_apply_merges_agree_where_one_takes_over():
    chance = random.Random(0)
    merges, reference, _ = both([(chance.randrange(30), chance.randrange(30)) for _ in range(40)])
    for length in (_LONG - 1, _LONG, _LONG + 1, 20 * _LONG):
        word = "".join(chance.choices("abc", k=length))
        assert merges.apply(ids_of(word)) == [token.id for token in reference.tokenize(word)]


def test_steps_by_hand():
    merges, _, tokens = both([(0, 1), (3, 2), (0, 0)])
    assert tokens == ["a", "b", "c", "ab", "abc", "aa"]
    steps = [[tokens[i] for i in ids] for ids in merges.steps(ids_of("aababc"))]
    assert steps == [
        ["a", "a", "b", "a", "b", "c"],
        ["a", "ab", "a", "b", "c"],
        ["a", "ab", "ab", "c"],
        ["a", "ab", "abc"],
    ]


def test_a_word_of_one_byte_or_none():
    merges, _, _ = both([(0, 0)])
    assert merges.apply([1]) == [1]
    assert merges.apply([]) == []
    assert list(merges.steps([])) == [[]]


def test_the_ids_that_are_passed_stay_as_they_are():
    merges, _, _ = both([(0, 0)])
    for length in (4, 2 * _LONG):
        ids = [0] * length
        assert len(merges.apply(ids)) == length // 2
        assert ids == [0] * length
