"""WordPiece, beside Hugging Face's BertWordPieceTokenizer."""

import json
import pydoc_data.topics
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer, Tokenizer, decoders

from llmlib.tokenizers.bert_text import BertNormalizer
from llmlib.tokenizers.wordpiece import WordPieceTokenizer, longest_match_first

DOCUMENTS = [text for _, text in sorted(pydoc_data.topics.topics.items())]
FOREIGN = "Ὀδυσσεὺς 東京都 한국어 naïve Ærøskøbing 🤖 שָׁלוֹם [MASK] ##ing [UNK] ﬁn 1½ e\u0301"


def same_everywhere(character: str) -> bool:
    """Whether all tables of Unicode agree on a character: see test_bert_text."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn" and character not in "\u1734\u1885\u1886\u166d"


def hugging_face(vocab_size=2000, **options) -> Tokenizer:
    trained = BertWordPieceTokenizer(**options)
    trained.train_from_iterator([*DOCUMENTS, FOREIGN * 9], vocab_size=vocab_size, show_progress=False)
    tokenizer = Tokenizer.from_str(trained.to_str())
    tokenizer.encode_special_tokens = True  # special tokens in a text are ordinary text, as here
    return tokenizer


@pytest.fixture(scope="module")
def reference() -> Tokenizer:
    return hugging_face()


@pytest.fixture(scope="module")
def loaded(reference, tmp_path_factory) -> WordPieceTokenizer:
    path = tmp_path_factory.mktemp("hugging_face") / "tokenizer.json"
    reference.save(str(path))
    return WordPieceTokenizer.load(path)


@pytest.fixture(scope="module")
def trained() -> WordPieceTokenizer:
    return WordPieceTokenizer.train(DOCUMENTS[:40], 600)


def ids_of(reference, text) -> list[int]:
    return reference.encode(text, add_special_tokens=False).ids


def test_longest_match_first_by_hand():
    ids = {"un": 0, "##aff": 1, "##able": 2, "##a": 3, "##ffable": 4, "u": 5}
    assert longest_match_first("unaffable", ids) == [0, 1, 2]
    assert longest_match_first("un", ids) == [0]
    assert longest_match_first("affable", ids) is None  # no piece begins a word with a


def test_longest_match_first_does_not_go_back():
    assert longest_match_first("abc", {"a": 0, "ab": 1, "##bc": 2}) is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"lowercase": False},
        {"lowercase": False, "strip_accents": True},
        {"strip_accents": False},
        {"handle_chinese_chars": False},
        {"clean_text": False},
    ],
    ids=str,
)
def test_what_hugging_face_saves_encodes_alike(options, tmp_path):
    reference = hugging_face(1000, **options)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = WordPieceTokenizer.load(tmp_path)
    for text in [*DOCUMENTS, FOREIGN]:
        assert tokenizer.encode(text) == ids_of(reference, text)


@given(
    st.lists(
        st.sampled_from(
            ["[MASK]", "[UNK]", "##a", "the", "function", "Σ", "e\u0301", "中", " ", "\n", "_", "'"]
        )
        | st.characters(exclude_categories=["Cs"]).filter(same_everywhere)
    ).map("".join)
)
def test_any_text_has_the_ids_of_hugging_face(reference, loaded, text):
    assert loaded.encode(text) == ids_of(reference, text)


def test_a_million_characters_have_the_ids_of_hugging_face(reference, loaded):
    for text in ("a" * 1_000_000, "ab 東,X" * 166_667):
        assert loaded.encode(text) == ids_of(reference, text)


@pytest.mark.parametrize("length", [100, 101])
def test_a_long_word_is_unknown_as_in_hugging_face(reference, loaded, length):
    word = "e" * length
    assert loaded.encode(word) == ids_of(reference, word)
    assert (loaded.pieces(word) == ["[UNK]"]) == (length > 100)


@pytest.mark.parametrize("rule", ["frequency", "likelihood"])
def test_what_is_saved_hugging_face_loads_and_encodes_alike(rule, tmp_path):
    normalizer = BertNormalizer(lowercase=False)
    tokenizer = WordPieceTokenizer.train(DOCUMENTS[:20], 500, rule=rule, normalizer=normalizer)
    tokenizer.save(tmp_path)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    reference.encode_special_tokens = True
    assert reference.get_vocab() == {piece: token_id for token_id, piece in enumerate(tokenizer.vocab)}
    for text in [*DOCUMENTS[20:], FOREIGN]:
        assert tokenizer.encode(text) == reference.encode(text).ids


def test_a_file_of_hugging_face_is_the_same_after_load_and_save(reference, tmp_path):
    """Also with the post-processor that adds [CLS] and [SEP]; encode does not add them."""
    vocab = reference.get_vocab()
    with_post_processor = BertWordPieceTokenizer(vocab, strip_accents=True)
    assert ids_of(with_post_processor, "A text") != with_post_processor.encode("A text").ids
    with_post_processor.save(str(tmp_path / "theirs.json"))
    tokenizer = WordPieceTokenizer.load(tmp_path / "theirs.json")
    tokenizer.save(tmp_path / "ours.json")
    assert json.loads((tmp_path / "ours.json").read_text()) == json.loads(
        (tmp_path / "theirs.json").read_text()
    )
    assert tokenizer.encode("A text") == ids_of(with_post_processor, "A text")


def test_training_gives_special_tokens_then_characters_then_pieces(trained):
    assert trained.vocab_size == len(trained.vocab) == 600
    assert list(trained.special_tokens.items()) == [
        *[("[PAD]", 0), ("[UNK]", 1), ("[CLS]", 2), ("[SEP]", 3), ("[MASK]", 4)]
    ]
    assert trained.vocab[:5] == list(trained.special_tokens)
    lengths = [len(piece.removeprefix("##")) for piece in trained.vocab[5:]]
    characters = lengths.count(1)
    assert lengths[:characters] == [1] * characters
    assert {*map(str.isprintable, trained.vocab)} == {True}


def test_training_twice_gives_the_same_vocabulary(trained):
    assert WordPieceTokenizer.train(iter(DOCUMENTS[:40]), 600).vocab == trained.vocab


def test_special_tokens_of_ones_own_and_the_unknown_token():
    tokenizer = WordPieceTokenizer.train(DOCUMENTS[:5], 300, ["<|endoftext|>"])
    assert tokenizer.special_tokens == {"[UNK]": 0, "<|endoftext|>": 1}
    tokenizer = WordPieceTokenizer.train(DOCUMENTS[:5], 300, ["<end>", "<?>"], unk_token="<?>")
    assert tokenizer.pieces("東") == ["<?>"]


def test_special_tokens_in_a_text_are_text_unless_allowed(trained):
    mask = trained.special_tokens["[MASK]"]
    text = "a [MASK] b [SEP]"
    assert mask not in trained.encode(text)
    assert trained.encode(text, allowed_special={"[MASK]"}).count(mask) == 1
    assert trained.pieces(text, allowed_special={"[MASK]"})[:2] == ["a", "[MASK]"]
    assert trained.encode(text, allowed_special="all")[-1] == trained.special_tokens["[SEP]"]
    with pytest.raises(ValueError, match=r"\[MASK\]"):
        trained.encode(text, disallowed_special="all")


def test_a_word_that_is_spelt_like_a_special_token_does_not_become_it():
    tokenizer = WordPieceTokenizer.train(DOCUMENTS[:20], 400, ["the", "[UNK]"])
    assert tokenizer.special_tokens["the"] not in tokenizer.encode("the theory")
    assert tokenizer.decode(tokenizer.encode("the theory")) == "the theory"
    assert tokenizer.encode("the", allowed_special="all") == [tokenizer.special_tokens["the"]]


@given(st.lists(st.integers(0, 599), max_size=20))
def test_decoding_is_that_of_hugging_face_with_and_without_clean_up(trained, ids):
    pieces = [trained.vocab[token_id] for token_id in ids]
    assert trained.decode(ids) == decoders.WordPiece(cleanup=False).decode(pieces)
    assert trained.decode(ids, clean_up=True) == decoders.WordPiece(cleanup=True).decode(pieces)
    assert trained.decode_bytes(np.array(ids, dtype=int)) == trained.decode(ids).encode()


def test_decoding_by_hand(trained):
    ids = trained.encode("The function, as defined: is it?")
    assert trained.decode(ids) == "the function , as defined : is it ?"
    assert trained.decode(ids, clean_up=True) == "the function, as defined : is it?"


def test_ids_out_of_range_are_refused(trained):
    with pytest.raises(ValueError, match="600 is outside the vocabulary of 600"):
        trained.decode([600])
    with pytest.raises(ValueError, match="-1 is outside"):
        trained.decode_bytes([-1])


def test_lone_surrogates_are_not_in_the_way(trained):
    assert trained.encode("the\ud800re") == trained.encode("there")
    assert WordPieceTokenizer.train(["a\ud800b ab"] * 2, 8).vocab[5:] == ["a", "b", "##b"]


@pytest.mark.parametrize("texts", [[], [""], [" \n\t"], ["\x00\u200b"]])
def test_an_empty_corpus_is_refused(texts):
    with pytest.raises(ValueError, match="corpus is empty"):
        WordPieceTokenizer.train(texts, 100)


def test_bad_arguments_of_training_are_refused():
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        WordPieceTokenizer.train("one text", 100)
    with pytest.raises(TypeError, match="list of names"):
        WordPieceTokenizer.train(["a"], 100, "[UNK]")
    with pytest.raises(ValueError, match="twice"):
        WordPieceTokenizer.train(["a"], 100, ["[UNK]", "[UNK]"])
    with pytest.raises(ValueError, match="rule must be"):
        WordPieceTokenizer.train(["a"], 100, rule="random")


def test_a_vocabulary_too_small_for_the_characters_is_refused_with_the_size_that_is_not():
    with pytest.raises(
        ValueError, match=r"vocab_size is 7, but the 6 characters.* and 5 special tokens need 11"
    ):
        WordPieceTokenizer.train(["abc cab"], 7, min_frequency=9)
    with pytest.warns(UserWarning, match="vocabulary of 11 only, not 12"):
        assert WordPieceTokenizer.train(["abc cab"], 12, min_frequency=9).vocab_size == 11


def test_text_that_is_no_string_is_refused(trained):
    with pytest.raises(TypeError, match="not bytes"):
        trained.encode(b"text")


def saved(tokenizer, path) -> dict:
    tokenizer.save(path)
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: d["model"]["vocab"].pop("the"), "not 0 to 598"),
        (lambda d: d["model"]["vocab"].update(the=0), "not 0 to 599"),
        (lambda d: d["model"]["vocab"].update(the=1.5), "not 0 to 599"),
        (lambda d: d["model"].update(unk_token="[unk]"), "must hold the special token '\\[unk\\]'"),
        (lambda d: d["model"].update(max_input_chars_per_word=None), "damaged"),
        (lambda d: d["model"].pop("continuing_subword_prefix"), "damaged"),
        (lambda d: d["added_tokens"][4].update(id=9), "damaged|must hold"),
        (lambda d: d.update(normalizer={"type": "NFC"}), "NFC.*not supported"),
        (lambda d: d.update(pre_tokenizer={"type": "Whitespace"}), "Whitespace.*not supported"),
        (lambda d: d["model"].update(type="BPE"), "BPETokenizer"),
        (lambda d: d.pop("model"), "not a tokenizer.json"),
    ],
)
def test_damaged_and_foreign_files_are_refused_with_path_and_reason(trained, tmp_path, damage, reason):
    document = saved(trained, tmp_path / "tokenizer.json")
    damage(document)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"(?s)damaged\.json.*({reason})"):
        WordPieceTokenizer.load(path)


def test_a_truncated_file_is_refused_with_its_path(trained, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"tokenizer\.json: damaged or cut short"):
        WordPieceTokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        WordPieceTokenizer.load(tmp_path / "missing.json")
