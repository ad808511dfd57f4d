"""BERT's text cleaning, beside Hugging Face's, on all of Unicode."""

import sys
import unicodedata
from dataclasses import asdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import normalizers, pre_tokenizers

from llmlib.tokenizers.bert_text import BertNormalizer, chunks, words

ALL = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]

# Characters that Unicode has put into another class since the tables of Hugging Face's tokenizers.
RECLASSED = {
    "\u1734",  # HANUNOO SIGN PAMUDPOD: was a mark without width, is one with width
    "\u1885",  # MONGOLIAN LETTER ALI GALI BALUDA: was a letter, is a mark
    "\u1886",  # MONGOLIAN LETTER ALI GALI THREE BALUDA
    "\u166d",  # CANADIAN SYLLABICS CHI SIGN: was punctuation, is a symbol
}


def same_everywhere(character: str) -> bool:
    """Whether all tables of Unicode agree on a character: it is not new, and not in another class now."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn" and character not in RECLASSED


def reference(normalizer: BertNormalizer) -> normalizers.Normalizer:
    return normalizers.BertNormalizer(**asdict(normalizer))


def reference_words(normalizer: BertNormalizer, text: str) -> list[str]:
    cleaned = reference(normalizer).normalize_str(text)
    return [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(cleaned)]


def unlike(ours, theirs) -> list[str]:
    """The characters of Unicode on which two functions of a text differ, each between two letters."""
    differing = []
    for start in range(0, len(ALL), 256):
        block = ALL[start : start + 256]
        if ours("x" + "x".join(block) + "x") != theirs("x" + "x".join(block) + "x"):
            differing += [
                character for character in block if ours(f"x{character}x") != theirs(f"x{character}x")
            ]
    return differing


@pytest.mark.parametrize(
    "options", ["clean_text", "handle_chinese_chars", "strip_accents", "lowercase", "all"]
)
def test_every_character_is_cleaned_as_in_hugging_face(options):
    names = ["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]
    normalizer = BertNormalizer(**{name: options in (name, "all") for name in names})
    differing = unlike(normalizer, reference(normalizer).normalize_str)
    assert not [character for character in differing if same_everywhere(character)]
    # Of 1,112,064 characters; all of them are newer than the tables of one side.
    assert len(differing) < 1000


def test_every_character_is_a_word_a_mark_or_white_space_as_in_hugging_face():
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    differing = unlike(words, lambda text: [word for word, _ in split(text)])
    assert not [character for character in differing if same_everywhere(character)]
    assert len(differing) < 300


@given(
    st.builds(
        BertNormalizer, st.booleans(), st.booleans(), st.sampled_from([True, False, None]), st.booleans()
    ),
    st.text(
        st.sampled_from(
            "aZ \t\n\r\x00\x0b\x0c\x1c\x1f\x85\xa0\u2028\u3000ΣİÅé\u0301\u0323\u200d\ufeff\ufffd中文!_$'#한ﬁ"
        )
        | st.characters(exclude_categories=["Cs"]).filter(same_everywhere)
    ),
)
@example(BertNormalizer(), "ΌΣΟΣ a\x0bb\x85c d\u0301 \u0323e")
@example(BertNormalizer(clean_text=False), "a\x1cb\x85c")
def test_words_of_any_text_are_those_of_hugging_face(normalizer, text):
    """Each chunk can be cleaned on its own, although accents and white space depend on what is beside them."""
    found = [word for chunk in chunks(text, normalizer) for word in words(normalizer(chunk))]
    assert found == reference_words(normalizer, text)


def test_cleaning_by_hand():
    assert words(BertNormalizer()("Crème brûlée, 3€/kg; 東京 (TŌKYŌ)\u200b!")) == [
        *["creme", "brulee", ",", "3€", "/", "kg", ";", "東", "京", "(", "tokyo", ")", "!"]
    ]
    assert BertNormalizer(lowercase=False)("Ça") == "Ça"
    assert BertNormalizer(lowercase=False, strip_accents=True)("Ça") == "Ca"


def test_a_lone_surrogate_is_no_character():
    assert BertNormalizer()("a\ud800b") == "ab"
    assert BertNormalizer(clean_text=False)("a\ud800b") == "a\ufffdb"


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "Lowercase"},
        {"type": "BertNormalizer", "clean_text": True},
        {**BertNormalizer().to_json(), "lowercase": "yes"},
        "BertNormalizer",
    ],
)
def test_other_normalizers_are_refused(entry):
    with pytest.raises(ValueError, match="not supported with WordPiece, only a BertNormalizer"):
        BertNormalizer.from_json(entry)


def test_no_normalizer_leaves_the_text_as_it_is():
    assert BertNormalizer.from_json(None)("Ünïcode 中\x00") == "Ünïcode 中\x00"
