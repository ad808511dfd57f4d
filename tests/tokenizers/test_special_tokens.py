"""Special tokens in a text: tiktoken's rule."""

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from llmlib.tokenizers.special_tokens import SpecialTokens

NAMES = ["<|a|>", "<|a|>b", "<|b|>", "<|é|>"]
APART = [NAMES[0], *NAMES[2:]]  # tiktoken has no rule for names that begin alike
SPECIAL = SpecialTokens({name: 256 + i for i, name in enumerate(NAMES)})
TEXTS = st.lists(st.sampled_from([*APART, "<|", "|>", "a", "b", "é", "\n"])).map("".join)


@pytest.fixture(scope="module")
def reference() -> tiktoken.Encoding:
    """Bytes are their own ids."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    special = {name: SPECIAL.ids[name] for name in APART}
    return tiktoken.Encoding("bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens=special)


@given(TEXTS, st.sets(st.sampled_from(APART)))
def test_the_text_is_cut_where_tiktoken_cuts_it(reference, text, allowed):
    ids = []
    for part, special_id in SPECIAL.split(text, allowed):
        assert part
        ids += part.encode() if special_id is None else [special_id]
    assert ids == reference.encode(text, allowed_special=allowed, disallowed_special=())


@given(TEXTS, st.sets(st.sampled_from(APART)))
def test_a_disallowed_token_is_refused_where_tiktoken_refuses_it(reference, text, allowed):
    def error_of(function):
        try:
            return function() and None
        except ValueError as error:
            return type(error)

    ours = error_of(lambda: list(SPECIAL.split(text, allowed, APART)))
    assert ours == error_of(lambda: reference.encode(text, allowed_special=allowed, disallowed_special="all"))


def test_by_hand():
    assert list(SPECIAL.split("x<|a|>b<|a|>", {"<|a|>"})) == [
        ("x", None),
        ("<|a|>", 256),
        ("b", None),
        ("<|a|>", 256),
    ]
    assert list(SPECIAL.split("x<|a|>b<|a|>", "all")) == [("x", None), ("<|a|>b", 257), ("<|a|>", 256)]
    assert list(SPECIAL.split("x<|a|>", ())) == [("x<|a|>", None)]
    assert list(SPECIAL.split("", "all")) == []


def test_a_disallowed_token_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"'<\|b\|>' at position 3"):
        list(SPECIAL.split("abc<|b|>", (), {"<|b|>"}))


def test_what_is_allowed_is_not_disallowed():
    assert list(SPECIAL.split("<|b|>", {"<|b|>"}, "all")) == [("<|b|>", 258)]
    assert list(SPECIAL.split("<|b|>", "all", {"<|b|>"})) == [("<|b|>", 258)]


def test_an_unknown_name_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValueError, match=r"\['<\|c\|>'\] are no special tokens here; known are .*<\|é\|>"):
        list(SPECIAL.split("text", {"<|c|>"}))
    with pytest.raises(ValueError, match="disallowed"):
        list(SPECIAL.split("text", (), {"<|c|>"}))


def test_one_name_in_place_of_a_set_is_a_type_error():
    with pytest.raises(TypeError, match=r"pass \{'<\|a\|>'\}"):
        list(SPECIAL.split("text", "<|a|>"))


def test_it_is_an_ordered_collection_of_names():
    assert list(SPECIAL) == NAMES
    assert len(SPECIAL) == 4
    assert "<|a|>" in SPECIAL
    assert "a" not in SPECIAL
    assert SPECIAL.ids["<|é|>"] == 259
    assert "259" in repr(SPECIAL)


@pytest.mark.parametrize(
    ("ids", "error"),
    [
        ({"": 0}, ValueError),
        ({"\ud800": 0}, ValueError),
        ({"<s>": -1}, ValueError),
        ({"<s>": 0, "</s>": 0}, ValueError),
        ({"<s>": "0"}, TypeError),
        ({"<s>": True}, TypeError),
        ({b"<s>": 0}, TypeError),
    ],
)
def test_names_and_ids_that_cannot_be_are_refused(ids, error):
    with pytest.raises(error, match="special token"):
        SpecialTokens(ids)
