"""The split is by whole documents, near 5 % of the bytes, and depends on the texts alone."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.corpora import Corpus, size_in_bytes, split

documents = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2).filter(
    lambda texts: len(set(texts)) > 1
)


@given(documents)
def test_every_document_is_on_one_side_and_no_side_is_empty(texts):
    train, validation = split(texts)
    assert train
    assert validation
    assert set(train).isdisjoint(validation)
    assert sorted(train + validation) == sorted(texts)


@given(documents, st.randoms())
def test_the_order_of_the_documents_changes_nothing(texts, order: random.Random):
    shuffled = order.sample(texts, len(texts))
    assert [set(side) for side in split(shuffled)] == [set(side) for side in split(texts)]


def test_the_split_is_the_same_on_every_machine():
    texts = [f"document {number}" for number in range(10, 50)]
    # Two of the forty, the first in the order of their SHA-256, which for these `sha256sum` gives as
    # 00f63db7... (document 21), 02ac2dad... (document 22), 1a5d946f... (document 12).
    assert split(texts)[1] == ("document 21", "document 22")


def test_sides_keep_the_order_of_the_documents():
    texts = [f"{number:04}" for number in range(1000)]
    for side in split(texts):
        assert list(side) == sorted(side)


def test_the_share_is_counted_in_bytes():
    short = [f"{number:04}" for number in range(1000)]
    long = [f"{number:04}" * 10 for number in range(100)]
    validation = split(short + long)[1]
    assert size_in_bytes(validation) == 0.05 * 8000


def test_in_a_small_corpus_the_smallest_document_is_held_out():
    assert split(["aaa", "b", "cc"]) == (("aaa", "cc"), ("b",))


def test_size_is_in_bytes_of_utf8():
    assert size_in_bytes(["é", "日本"]) == 2 + 6


@pytest.mark.parametrize("texts", [[], ["", " \n"]])
def test_an_empty_corpus_is_refused(texts):
    with pytest.raises(ValueError, match="'mine' is empty"):
        Corpus.from_documents("mine", texts)


def test_documents_that_are_all_the_same_are_refused():
    with pytest.raises(ValueError, match="at least two different documents, but there is 1"):
        Corpus.from_documents("mine", ["same", "same"])


def test_blank_documents_are_left_out_and_sizes_are_shown():
    corpus = Corpus.from_documents("mine", ["first", "\n", "2nd"])
    assert corpus.documents == ("first", "2nd")
    assert repr(corpus) == "Corpus('mine', train=1 documents / 5 bytes, validation=1 documents / 3 bytes)"
