"""Training of the unigram model, beside enumeration and Hugging Face's trainer."""

import math
import pydoc_data.topics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import SentencePieceUnigramTokenizer

from llmlib.tokenizers.lattice import Lattices, viterbi
from llmlib.tokenizers.sentencepiece_text import NMT_NFKC, Metaspace
from llmlib.tokenizers.unigram_trainer import pruning_losses, seed_pieces, train_unigram

DOCUMENTS = [text for _, text in sorted(pydoc_data.topics.topics.items())]
WORD_COUNTS = st.dictionaries(
    st.text("abc", min_size=1, max_size=8), st.integers(1, 20), min_size=1, max_size=8
)


def words(texts) -> Counter[str]:
    return Counter(word for text in texts for word in Metaspace().words(NMT_NFKC(text)))


@given(WORD_COUNTS)
def test_seeds_are_the_repeated_substrings_that_no_longer_one_stands_for(word_counts):
    counts = Counter()
    for word, count in word_counts.items():
        for start in range(len(word)):
            for end in range(start + 1, len(word) + 1):
                counts[word[start:end]] += count
    repeated = {piece: count for piece, count in counts.items() if count > 1 and len(piece) > 1}
    expected = {
        piece: count
        for piece, count in repeated.items()
        if not any(
            count == repeated[longer]
            for longer in repeated
            if len(longer) == len(piece) + 1 and piece in longer
        )
    }
    characters = {piece: count for piece, count in counts.items() if len(piece) == 1}
    assert seed_pieces(word_counts, seed_size=1000) == characters | expected


def test_the_seeds_with_the_highest_count_times_length_are_kept():
    seeds = seed_pieces({"abcd": 10, "xy": 15, "ef": 9, "xyz": 2}, seed_size=2)
    assert list(seeds)[9:] == ["abcd", "xy"]
    assert seeds["xy"] == 17
    assert "".join(list(seeds)[:9]) == "abcdefxyz"


@given(WORD_COUNTS)
def test_pieces_are_no_longer_than_the_limit(word_counts):
    assert max(map(len, seed_pieces(word_counts, seed_size=1000, longest=3))) <= 3


@given(WORD_COUNTS)
def test_em_never_lowers_the_likelihood(word_counts):
    pieces = list(seed_pieces(word_counts, seed_size=1000))
    lattices = Lattices(list(word_counts), list(word_counts.values()), pieces)
    probabilities = np.full(len(pieces), 1 / len(pieces))
    likelihoods = []
    for _ in range(6):
        uses, log_likelihood = lattices.expected_counts(np.log(probabilities))
        likelihoods.append(log_likelihood)
        probabilities = np.maximum(uses, 1e-12) / np.maximum(uses, 1e-12).sum()
    assert np.diff(likelihoods).min() >= -1e-9 * abs(likelihoods[0])


def test_the_loss_of_a_piece_is_what_its_uses_cost_more_without_it():
    log_probs = {"a": -2.0, "b": -3.0, "ab": -1.0, "bab": -1.5, "abab": -3.0}
    uses = np.array([5.0, 6.0, 7.0, 8.0, 9.0])
    # ab = a|b -5, bab = b|ab -4, abab = ab|ab -2, which is better than abab itself.
    assert pruning_losses(log_probs, uses).tolist() == [math.inf, math.inf, 7 * 4.0, 8 * 2.5, 9 * -1.0]


@pytest.mark.parametrize("size", [100, 400])
def test_the_vocabulary_has_its_size_all_characters_and_probabilities_that_sum_to_one(size):
    word_counts = words(DOCUMENTS[:10])
    log_probs = train_unigram(word_counts, size)
    assert len(log_probs) == size
    assert set("".join(word_counts)) <= log_probs.keys()
    assert sum(math.exp(score) for score in log_probs.values()) == pytest.approx(1)
    assert list(log_probs.values()) == sorted(log_probs.values(), reverse=True)
    assert all(map(math.isfinite, log_probs.values()))


def test_training_is_deterministic():
    word_counts = words(DOCUMENTS[:5])
    assert train_unigram(word_counts, 200) == train_unigram(word_counts, 200)


def test_a_text_with_few_repeated_substrings_gives_fewer_pieces():
    assert train_unigram({"abc": 1}, 10).keys() == {"a", "b", "c"}


def test_too_few_pieces_for_the_characters_are_refused():
    with pytest.raises(ValueError, match="2 pieces cannot hold the 3 different characters"):
        train_unigram({"abc": 5}, 2)


def test_the_vocabulary_is_as_good_as_that_of_hugging_face():
    """On documents that neither has seen: at most 3 % more tokens, and at most 1 % less likely."""
    size = 2000
    training, held_out = DOCUMENTS[::2], words(DOCUMENTS[1::2])
    tokenizer = SentencePieceUnigramTokenizer()
    tokenizer.train_from_iterator(
        training, vocab_size=size, show_progress=False, special_tokens=["<unk>"], unk_token="<unk>"
    )
    reference = {tokenizer.id_to_token(i): score for i, (_, score) in enumerate(_scores(tokenizer))}
    del reference["<unk>"]
    ours = train_unigram(words(training), size - 1)

    def measure(log_probs):
        unknown = min(log_probs.values()) - 10
        cut = [(viterbi(word, log_probs, 16, unknown), count) for word, count in held_out.items()]
        tokens = sum(count * len(pieces) for (pieces, _), count in cut)
        return tokens, -sum(count * score for (_, score), count in cut)

    (tokens, nats), (tokens_of_reference, nats_of_reference) = measure(ours), measure(reference)
    assert tokens < 1.03 * tokens_of_reference
    assert nats < 1.01 * nats_of_reference


def _scores(tokenizer):
    import json

    return json.loads(tokenizer.to_str())["model"]["vocab"]
