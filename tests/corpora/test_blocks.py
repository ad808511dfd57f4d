"""Rows for training: what is in them, and an account that is exact."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlib.corpora import Account, blocks, pack, truncate

DOCUMENTS = [[1, 2, 3, 4, 5], [6], [], [7, 8, 9]]

documents = st.lists(st.lists(st.integers(0, 5)), min_size=1)
lengths = st.integers(1, 8)


def test_truncation_by_hand():
    rows, account = truncate(DOCUMENTS, 3)
    assert [row.tolist() for row in rows] == [[1, 2, 3], [6], [], [7, 8, 9]]
    assert account == Account(kept=7, discarded=2)


def test_truncation_and_padding_by_hand():
    rows, account = truncate(DOCUMENTS, 3, pad_id=0)
    assert rows.tolist() == [[1, 2, 3], [6, 0, 0], [0, 0, 0], [7, 8, 9]]
    assert account == Account(kept=7, discarded=2, padding=5)


def test_packing_by_hand():
    # The stream is 1 2 3 4 5 0 6 0 0 7 8 9 0: thirteen tokens, so three blocks of four, and a 0 left over.
    rows, account = pack(DOCUMENTS, 4, separator_id=0)
    assert rows.tolist() == [[1, 2, 3, 4], [5, 0, 6, 0], [0, 7, 8, 9]]
    assert account == Account(kept=9, discarded=0, separators=3)
    # Two blocks of five: 8 9 and a separator are left over.
    rows, account = pack(DOCUMENTS, 5, separator_id=0)
    assert rows.tolist() == [[1, 2, 3, 4, 5], [0, 6, 0, 0, 7]]
    assert account == Account(kept=7, discarded=2, separators=3)


def test_a_stream_that_fills_no_block():
    rows, account = pack([[1, 2]], 4, separator_id=0)
    assert rows.shape == (0, 4)
    assert account == Account(kept=0, discarded=2)


@given(documents, lengths, st.integers(0, 5))
def test_padding_keeps_the_start_of_each_document_and_every_token_is_accounted_for(texts, length, pad_id):
    rows, account = truncate(texts, length, pad_id)
    for row, text in zip(rows.tolist(), texts, strict=True):
        assert row == (text + [pad_id] * length)[:length]
    assert account.kept + account.discarded == sum(map(len, texts))
    assert account.kept + account.padding == rows.size
    assert account.kept == sum(map(len, truncate(texts, length)[0]))


@given(documents, lengths, st.integers(0, 5))
def test_packing_keeps_the_order_and_every_token_is_accounted_for(texts, length, separator_id):
    rows, account = pack(texts, length, separator_id)
    stream = [token for text in texts for token in [*text, separator_id]]
    assert rows.flatten().tolist() == stream[: rows.size]
    assert 0 <= len(stream) - rows.size < length
    assert account.kept + account.discarded == sum(map(len, texts))
    assert account.kept + account.separators == rows.size
    assert account.padding == 0


def test_arrays_and_iterators_serve_as_well_as_lists():
    rows, _ = pack((np.array(ids, dtype=np.uint16) for ids in [[1, 2], [3]]), 5, separator_id=50256)
    assert rows.tolist() == [[1, 2, 50256, 3, 50256]]
    assert rows.dtype == np.int64


@pytest.mark.parametrize("prepare", [truncate, pack])
class TestBadInput:
    @pytest.mark.parametrize("length", [0, -1])
    def test_no_length(self, prepare, length):
        with pytest.raises(ValueError, match=f"length must be 1 or larger, but it is {length}"):
            prepare(DOCUMENTS, length, 0)

    @pytest.mark.parametrize("length", [1.5, True, "2", None])
    def test_length_of_another_type(self, prepare, length):
        with pytest.raises(TypeError, match="length must be an integer"):
            prepare(DOCUMENTS, length, 0)

    def test_negative_id(self, prepare):
        with pytest.raises(ValueError, match=r"(pad_id|separator_id) must be 0 or larger, but it is -1"):
            prepare(DOCUMENTS, 2, -1)

    def test_no_documents(self, prepare):
        with pytest.raises(ValueError, match="no documents"):
            prepare([], 2, 0)

    @pytest.mark.parametrize("texts", [["text"], "text", [1, 2], [[1.5]], [[[1]]], [[True]], [None]])
    def test_what_is_not_token_ids(self, prepare, texts):
        with pytest.raises(TypeError, match="Encode"):
            prepare(texts, 2, 0)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(blocks).failed == 0
