"""GPT-2's words and byte symbols, beside Hugging Face's ByteLevel."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from llmlib.tokenizers.byte_level import BYTE_ORDER, from_symbols, split_words, to_symbols

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def words_of_hugging_face(text: str) -> list[str]:
    return [word for word, _ in BYTE_LEVEL.pre_tokenize_str(text)]


def symbols(text: str) -> list[str]:
    return [to_symbols(word.encode()) for word in split_words(text)]


def test_every_character_that_is_old_enough_is_classed_as_in_hugging_face():
    """Beside a letter, a number, a sign and a space, so that each class gives other words."""
    known = [character for character in map(chr, range(sys.maxunicode + 1)) if _is_known(character)]
    assert len(known) > 144_000
    for start in range(0, len(known), 10_000):
        text = "".join(f"a{c}1{c}! {c} \n" for c in known[start : start + 10_000])
        assert symbols(text) == words_of_hugging_face(text)


def _is_known(character: str) -> bool:
    """Whether it is assigned in this Python's Unicode, and no surrogate or private character."""
    return unicodedata.category(character) not in ("Cn", "Cs", "Co")


SIGNS = [
    "'s",
    "'ll",
    "'LL",
    "'",
    " ",
    "  ",
    "\n",
    "\n\n",
    " \n",
    "\t",
    "\r\n",
    "\x0b",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2003",
]
LETTERS = ["a", "Z", "word", "é", "ł", "东", "1", "٣", "²", "_", "!", "—", "🤖", "\u0301", "\0", "\x7f"]


ASCII = [part for part in SIGNS + LETTERS if part.isascii()]


@given(
    st.lists(st.sampled_from(SIGNS + LETTERS)).map("".join) | st.lists(st.sampled_from(ASCII)).map("".join)
)
@example("!\x1c")  # no white space, whatever `re` says of it
def test_the_words_are_those_of_hugging_face(text):
    """ASCII and other lines go separate ways here, and must meet in the same words."""
    assert symbols(text) == words_of_hugging_face(text)


@given(st.text(st.characters()))
def test_the_words_are_the_text(text):
    words = split_words(text)
    assert "".join(words) == text
    assert "" not in words


def test_the_symbols_are_those_of_hugging_face():
    assert sorted(to_symbols(BYTE_ORDER)) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert words_of_hugging_face(" \n") == [to_symbols(b" \n")]
    assert list(to_symbols(BYTE_ORDER)) == sorted(to_symbols(BYTE_ORDER))


@given(st.binary())
def test_symbols_stand_for_their_bytes(data):
    assert from_symbols(to_symbols(data)) == data


def test_a_character_that_is_no_symbol_is_named():
    with pytest.raises(ValueError, match="'▁', which is the symbol of no byte"):
        from_symbols("▁the")
