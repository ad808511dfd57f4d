"""The trainer, by hand and beside Hugging Face's BpeTrainer."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from llmlib.tokenizers.bpe_trainer import learn_merges, spell
from llmlib.tokenizers.byte_level import BYTE_ORDER, to_symbols


def learn(word_counts: dict[bytes, int], vocab_size: int, **options) -> tuple[list[bytes], list[str]]:
    """The tokens that the merges make, in order, and the words as the trainer leaves them."""
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    words = [spell(word) for word in word_counts]
    for left, right in learn_merges(words, list(word_counts.values()), vocab_size, **options):
        tokens.append(tokens[left] + tokens[right])
    return tokens[256:], [" ".join(tokens[ord(token)].decode() for token in word) for word in words]


def test_the_example_of_wikipedia():
    """aaabdaaabac: aa, then ab (as frequent as aa+a, but of lower ids), then aa+ab; then no pair is frequent."""
    merged, words = learn({b"aaabdaaabac": 1}, 259)
    assert merged == [b"aa", b"ab", b"aaab"]
    assert words == ["aaab d aaab a c"]


def test_the_example_of_the_paper():
    """Sennrich et al. 2016, figure 1's words, with "." for the end of a word; equals are chosen otherwise there."""
    merged, words = learn({b"low.": 5, b"lower.": 2, b"newest.": 6, b"widest.": 3}, 256 + 10)
    assert merged == [b"es", b"t.", b"est.", b"lo", b"low", b"ew", b"new", b"newest.", b"low.", b"dest."]
    assert words == ["low.", "low e r .", "newest.", "w i dest."]


def test_words_count_as_often_as_they_occur():
    assert learn({b"ab": 1, b"cd": 2}, 257)[0] == [b"cd"]


def test_rare_pairs_are_left_alone():
    assert learn({b"ab": 2, b"cd": 3, b"ef": 1}, 300, min_frequency=2)[0] == [b"cd", b"ab"]
    assert learn({b"ab": 2, b"cd": 3, b"ef": 1}, 300, min_frequency=0)[0] == [b"cd", b"ab", b"ef"]


WORDS = st.text("ab", min_size=1, max_size=40) | st.text("abc", min_size=1, max_size=12)


@given(st.lists(WORDS, min_size=1, max_size=20), st.integers(256, 400))
def test_the_merges_are_those_of_hugging_face_one_by_one(words, vocab_size):
    """Few letters: many pairs overlap and are equally frequent."""
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    reference.train_from_iterator(words, trainer)
    merges = json.loads(reference.to_str())["model"]["merges"]

    counts = Counter(word.encode() for word in words)
    merged, cut = learn(counts, vocab_size)
    assert [to_symbols(token) for token in merged] == ["".join(pair) for pair in merges]
    assert cut == [" ".join(reference.encode(word.decode()).tokens) for word in counts]


def test_there_are_no_more_ids_than_characters():
    with pytest.raises(ValueError, match="1114112 tokens at most"):
        list(learn_merges([], [], 1 << 21))
