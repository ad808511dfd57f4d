"""Training of WordPiece, beside Hugging Face's trainer and beside plain recounting."""

import pydoc_data.topics
from collections import Counter
from fractions import Fraction
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from llmlib.tokenizers.bert_text import BertNormalizer, words
from llmlib.tokenizers.wordpiece_trainer import characters, learn_pieces

DOCUMENTS = [text for _, text in sorted(pydoc_data.topics.topics.items())]

# The example of Hugging Face's course, chapter 6.
HUGS = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}


@pytest.fixture(scope="module")
def word_counts() -> Counter[str]:
    return Counter(word for text in DOCUMENTS for word in words(BertNormalizer()(text)))


def hugging_face(**options) -> tuple[list[str], int]:
    """The vocabulary of its trainer, by id, and how many of them are special tokens and characters."""
    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(DOCUMENTS, show_progress=False, **options)
    ids = tokenizer.get_vocab()
    vocab = sorted(ids, key=ids.__getitem__)
    return vocab, 1 + max(i for i, piece in enumerate(vocab) if len(piece.removeprefix("##")) == 1)


@pytest.mark.parametrize(
    "options",
    [
        {"vocab_size": 4000},
        {"vocab_size": 3000, "limit_alphabet": 50},
        {"vocab_size": 5000, "min_frequency": 40},
        {"vocab_size": 20_000, "min_frequency": 1},
    ],
    ids=str,
)
def test_by_frequency_the_vocabulary_is_that_of_hugging_face(word_counts, options):
    """Id by id, when the ## characters are numbered as they were there, in that run."""
    vocab, first = hugging_face(**options)
    learned = learn_pieces(word_counts, vocab[:first], "frequency", options.get("min_frequency", 2))
    assert list(islice(learned, options["vocab_size"] - first)) == vocab[first:]


@pytest.mark.parametrize("limit", [10, 50, None])
def test_the_characters_are_those_of_hugging_face(word_counts, limit):
    counts = sorted(Counter("".join(word_counts.elements())).values(), reverse=True)
    if limit and counts[limit - 1] == counts[limit]:
        pytest.skip("two characters are equally frequent, and its choice among them is random")
    vocab, first = hugging_face(vocab_size=0, **({} if limit is None else {"limit_alphabet": limit}))
    start = characters(word_counts, limit)
    assert sorted(vocab[5:first]) == sorted(start)
    plain = [piece for piece in start if not piece.startswith("##")]
    assert vocab[5 : 5 + len(plain)] == plain


def test_the_most_frequent_pair_by_hand():
    # ug 20 times, un 16, then hug 15 and pun 12; in between no two pairs are equal.
    learned = learn_pieces(HUGS, characters(HUGS), "frequency")
    assert list(islice(learned, 4)) == ["##ug", "##un", "hug", "pun"]


def test_the_most_likely_pair_by_hand():
    # gs: 5 / (20 * 5) = 1/20. All other pairs hold u, and score 1/36.
    assert next(learn_pieces(HUGS, characters(HUGS), "likelihood")) == "##gs"


@given(
    st.dictionaries(st.text("abcd", min_size=1, max_size=8), st.integers(1, 9), min_size=1, max_size=8),
    st.integers(1, 4),
)
def test_by_likelihood_each_piece_has_the_best_score_of_a_full_recount(word_counts, min_frequency):
    start = characters(word_counts)
    segmented = [[word[0], *("##" + character for character in word[1:])] for word in word_counts]
    counts = list(word_counts.values())

    def scores() -> dict[tuple[str, str], Fraction]:
        pieces, pairs = Counter(), Counter()
        for word, count in zip(segmented, counts, strict=True):
            for piece in word:
                pieces[piece] += count
            for pair in pairwise(word):
                pairs[pair] += count
        return {
            (a, b): Fraction(count, pieces[a] * pieces[b])
            for (a, b), count in pairs.items()
            if count >= min_frequency
        }

    known = list(start)
    learned = learn_pieces(word_counts, start, "likelihood", min_frequency)
    while current := scores():
        best = max(current.values())
        # Of equals, the pair with the lower ids.
        _, _, pair = min(
            (known.index(a), known.index(b), (a, b)) for (a, b) in current if current[a, b] == best
        )
        new = pair[0] + pair[1].removeprefix("##")
        if new not in known:
            assert next(learned) == new
            known.append(new)
        for word in segmented:
            for place in range(len(word) - 1):
                if tuple(word[place : place + 2]) == pair:
                    word[place : place + 2] = [new]
    assert list(learned) == []


@pytest.mark.parametrize("rule", ["frequency", "likelihood"])
def test_characters_that_are_left_out_are_skipped(rule):
    learned = learn_pieces({"axb": 5}, ["a", "b", "##b"], rule)
    assert list(learned) == ["ab"]


@pytest.mark.parametrize("rule", ["frequency", "likelihood"])
def test_two_ways_to_spell_a_piece_give_it_one_id(rule):
    word_counts = {"abc": 9, "ab": 9, "dbc": 8, "xabc": 5, "xab": 3}
    learned = list(learn_pieces(word_counts, characters(word_counts), rule))
    assert len(learned) == len(set(learned))


def test_the_rules_differ():
    """By frequency common parts join, by likelihood rare characters: on real text they have little in common."""
    word_counts = Counter(word for text in DOCUMENTS[:20] for word in words(BertNormalizer()(text)))
    start = characters(word_counts)
    by_frequency = set(islice(learn_pieces(word_counts, start, "frequency"), 300))
    by_likelihood = set(islice(learn_pieces(word_counts, start, "likelihood"), 300))
    assert len(by_frequency & by_likelihood) < 100
