"""SentencePiece's text cleaning and pre-tokeniser, beside Hugging Face's."""

import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from llmlib.tokenizers.sentencepiece_text import IDENTITY, NMT_NFKC, Metaspace, SentencePieceNormalizer

REFERENCE = normalizers.Sequence(
    [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
)


def same_everywhere(character: str) -> bool:
    """Whether all tables of Unicode agree on a character: it was there in version 3.2."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


def test_every_character_is_cleaned_as_in_hugging_face():
    differing = []
    for start in range(0, sys.maxunicode + 1, 256):
        block = [chr(code) for code in range(start, start + 256) if not 0xD800 <= code < 0xE000]
        text = "x" + "x".join(block) + "x"
        if NMT_NFKC(text) != REFERENCE.normalize_str(text):
            differing += [c for c in block if NMT_NFKC(f"x{c}x") != REFERENCE.normalize_str(f"x{c}x")]
    assert not [character for character in differing if same_everywhere(character)]
    assert len(differing) < 300


KNOWN_TEXT = st.text(
    st.sampled_from("ab  \t\n\x00\x0b▁ﬁ①Å\u0301\u0323\u200b\u3000\ufeff한ガ")
    | st.characters(exclude_categories=["Cs"]).filter(same_everywhere)
)


@given(KNOWN_TEXT)
@example("  e\u0323\u0301  ﬁ\n\n①  ")
def test_any_text_is_cleaned_as_in_hugging_face(text):
    assert NMT_NFKC(text) == REFERENCE.normalize_str(text)


@given(KNOWN_TEXT, st.sampled_from(["always", "never", "first"]), st.booleans(), st.sampled_from("▁_"))
@example(" ", "always", True, "▁")
@example("▁a  b ▁", "always", True, "▁")
def test_any_text_is_cut_into_the_words_of_hugging_face(text, scheme, split, mark):
    reference = pre_tokenizers.Metaspace(replacement=mark, prepend_scheme=scheme, split=split)
    assert Metaspace(mark, scheme, split).words(text) == [
        word for word, _ in reference.pre_tokenize_str(text)
    ]


def test_behind_a_special_token_only_always_puts_a_space():
    assert Metaspace(prepend_scheme="first").words("a b", at_beginning=False) == ["a", "▁b"]
    assert Metaspace(prepend_scheme="always").words("a b", at_beginning=False) == ["▁a", "▁b"]


def test_a_lone_surrogate_is_no_character():
    assert IDENTITY("a\ud800") == "a\ufffd"
    assert NMT_NFKC("a\ud800") == "a "


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
def test_each_normal_form_is_read(form):
    assert SentencePieceNormalizer.from_json({"type": form})("é\ufb01") == unicodedata.normalize(
        form, "é\ufb01"
    )


def test_replacements_are_read():
    entry = {"type": "Replace", "pattern": {"String": "``"}, "content": '"'}
    assert SentencePieceNormalizer.from_json(entry)("``a``") == '"a"'
    entry = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": r"\1"}
    assert SentencePieceNormalizer.from_json(entry)("a   b") == r"a\1b"


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"type": "Precompiled", "precompiled_charsmap": "AAAA"}, "Precompiled"),
        ({"type": "Sequence", "normalizers": [{"type": "Nmt"}, {"type": "Lowercase"}]}, "Lowercase"),
        ({"type": "Replace", "pattern": {"Regex": "a+"}, "content": " "}, r"a\+"),
        ("NFKC", "NFKC"),
    ],
)
def test_other_normalizers_are_refused_by_name_with_the_remedy(entry, named):
    with pytest.raises(ValueError, match=f"{named}.* is not supported(.|\n)*tokenizers, or train"):
        SentencePieceNormalizer.from_json(entry)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {"type": "Whitespace"},
        {"type": "Metaspace", "replacement": "ab"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "sometimes"},
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "add_prefix_space": False},
        {"type": "Metaspace", "replacement": "▁", "unheard_of": 1},
    ],
)
def test_other_pre_tokenizers_are_refused(entry):
    with pytest.raises(ValueError, match="only a Metaspace"):
        Metaspace.from_json(entry)


def test_the_entries_of_older_files_are_read():
    old = {"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": True}
    assert Metaspace.from_json(old) == Metaspace()
