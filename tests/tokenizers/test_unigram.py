"""The unigram tokenizer, beside Hugging Face's."""

import json
import pydoc_data.topics
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import SentencePieceUnigramTokenizer, Tokenizer, decoders, models

from llmlib.tokenizers.sentencepiece_text import IDENTITY, Metaspace
from llmlib.tokenizers.unigram import UnigramTokenizer

DOCUMENTS = [text for _, text in sorted(pydoc_data.topics.topics.items())]
FOREIGN = "Ὀδυσσεὺς 東京都 한국어 naïve 🤖🤖 <unk> <s> ▁ ﬁn 1½ e\u0301"


def same_everywhere(character: str) -> bool:
    """Whether all tables of Unicode agree on a character: it was there in version 3.2."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


@pytest.fixture(scope="module")
def reference() -> Tokenizer:
    """Trained by Hugging Face. It keeps the exact scores, which its own reading of a file would change a little."""
    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        DOCUMENTS[:40],
        vocab_size=800,
        show_progress=False,
        special_tokens=["<s>", "<unk>", "</s>"],
        unk_token="<unk>",
    )
    return trained._tokenizer


@pytest.fixture(scope="module")
def loaded(reference, tmp_path_factory) -> UnigramTokenizer:
    path = tmp_path_factory.mktemp("hugging_face") / "tokenizer.json"
    reference.save(str(path))
    return UnigramTokenizer.load(path)


@pytest.fixture(scope="module")
def trained() -> UnigramTokenizer:
    return UnigramTokenizer.train(DOCUMENTS[:20], 500)


@pytest.fixture(scope="module")
def lossless() -> UnigramTokenizer:
    return UnigramTokenizer.train(
        DOCUMENTS[:20], 500, normalizer=IDENTITY, metaspace=Metaspace(prepend_scheme="never")
    )


def test_a_vocabulary_of_hugging_face_gives_its_ids_on_real_text(reference, loaded):
    assert loaded.special_tokens == {"<s>": 0, "<unk>": 1, "</s>": 2}
    for text in [*DOCUMENTS, FOREIGN.replace("<unk>", "").replace("<s>", "")]:
        encoding = reference.encode(text)
        assert loaded.encode(text) == encoding.ids
        assert loaded.decode(encoding.ids) == reference.decode(encoding.ids, skip_special_tokens=False)


@given(
    st.lists(
        st.sampled_from(["the", " ", "\n", "  ", "▁", "ﬁ", "é", "xyz", "\u0301"])
        | st.characters(exclude_categories=["Cs"]).filter(same_everywhere)
    ).map("".join)
)
def test_any_text_has_the_ids_of_hugging_face(reference, loaded, text):
    assert loaded.encode(text) == reference.encode(text).ids


@given(st.lists(st.sampled_from(["<s>", "</s>", "ab", " c", "  ", "x"])).map("".join))
@pytest.mark.parametrize("scheme", ["always", "first", "never"])
def test_allowed_special_tokens_have_the_ids_of_hugging_face(scheme, text):
    pieces = [
        ("<unk>", 0.0),
        ("<s>", 0.0),
        ("</s>", 0.0),
        ("▁", -2.0),
        ("▁a", -2.5),
        ("a", -3.0),
        ("b", -3.25),
        ("c", -4.0),
    ]
    metaspace = Metaspace(prepend_scheme=scheme)
    tokenizer = UnigramTokenizer(pieces, {"<s>": 1, "</s>": 2}, normalizer=IDENTITY, metaspace=metaspace)
    reference = Tokenizer(models.Unigram(pieces, 0, False))
    reference.pre_tokenizer = metaspace_of_hugging_face(scheme)
    reference.add_special_tokens(["<s>", "</s>"])
    assert tokenizer.encode(text, allowed_special="all") == reference.encode(text).ids


def metaspace_of_hugging_face(scheme):
    from tokenizers.pre_tokenizers import Metaspace as Reference

    return Reference(prepend_scheme=scheme)


@given(st.text("ab é東🤖", max_size=12))
def test_byte_fallback_is_that_of_hugging_face(tmp_path_factory, text):
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("▁ab", -3.5)]
    pieces += [(f"<0x{byte:02X}>", -9.0) for byte in range(256) if byte != 0xF0]  # 🤖 begins with F0
    tokenizer = UnigramTokenizer(pieces, {}, byte_fallback=True)
    folder = tmp_path_factory.mktemp("byte_fallback")
    tokenizer.save(folder)
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = tokenizer.encode(text)
    assert ids == reference.encode(text).ids
    assert tokenizer.decode(ids) == reference.decode(ids)
    assert UnigramTokenizer.load(folder).encode(text) == ids


def test_half_a_character_of_byte_pieces_decodes_as_the_caller_says():
    pieces = [("<unk>", 0.0), ("a", -1.0), *[(f"<0x{byte:02X}>", -9.0) for byte in range(256)]]
    tokenizer = UnigramTokenizer(
        pieces, {}, byte_fallback=True, normalizer=IDENTITY, metaspace=Metaspace("▁", "never")
    )
    ids = tokenizer.encode("a東")
    assert tokenizer.decode(ids) == "a東"
    assert tokenizer.decode_bytes(ids[:-1]) == "a東".encode()[:-1]
    assert tokenizer.decode(ids[:-1]) == "a\ufffd"
    with pytest.raises(UnicodeDecodeError):
        tokenizer.decode(ids[:-1], errors="strict")


def test_what_is_saved_hugging_face_loads_and_encodes_alike(trained, lossless, tmp_path):
    for tokenizer in (trained, lossless):
        tokenizer.save(tmp_path)
        reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        for text in [*DOCUMENTS, FOREIGN.replace("<unk>", "")]:
            assert tokenizer.encode(text) == reference.encode(text).ids


def test_a_file_of_hugging_face_is_the_same_after_load_and_save(reference, loaded, tmp_path):
    loaded.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == json.loads(reference.to_str())


def test_training_gives_special_tokens_then_pieces_by_probability(trained):
    assert trained.vocab_size == len(trained.vocab) == len(trained.scores) == 500
    assert trained.special_tokens == {"<unk>": 0}
    assert trained.scores[1:] == sorted(trained.scores[1:], reverse=True)
    assert np.exp(trained.scores[1:]).sum() == pytest.approx(1)
    tokenizer = UnigramTokenizer.train(DOCUMENTS[:5], 200, ["<s>", "</s>"])
    assert tokenizer.special_tokens == {"<unk>": 0, "<s>": 1, "</s>": 2}


def test_text_decodes_to_itself_as_the_cleaning_left_it(trained):
    text = "Two  spaces,\na line and\ttabs: ①"
    assert trained.decode(trained.encode(text)) == "Two spaces, a line and tabs: 1"
    assert (
        trained.pieces("the end") == ["▁the", "▁", "end"] or "".join(trained.pieces("the end")) == "▁the▁end"
    )


@given(st.data())
def test_without_cleaning_any_text_of_known_characters_decodes_to_itself(lossless, data):
    characters = sorted({piece for piece in lossless.vocab if len(piece) == 1} - {"▁"} | {" "})
    text = data.draw(st.text(st.sampled_from(characters)))
    assert lossless.decode(lossless.encode(text)) == text
    assert lossless.decode_bytes(lossless.encode(text)) == text.encode()


def test_without_cleaning_documents_decode_to_themselves(lossless):
    for text in DOCUMENTS[:20]:
        assert lossless.decode(lossless.encode(text)) == text


def test_special_tokens_in_a_text_are_text_unless_allowed():
    tokenizer = UnigramTokenizer.train([*DOCUMENTS[:5], "<s>" * 50], 200, ["<unk>", "<s>"])
    text = "a<s>b<unk>"
    assert set(tokenizer.encode(text)).isdisjoint({0, 1})
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text, allowed_special={"<s>"}).count(1) == 1
    assert tokenizer.pieces("<s>", allowed_special="all") == ["<s>"]
    with pytest.raises(ValueError, match="<s>"):
        tokenizer.encode(text, disallowed_special="all")


def test_a_word_that_is_spelt_like_a_special_token_does_not_become_it():
    tokenizer = UnigramTokenizer.train(DOCUMENTS[:5], 200, ["▁the"])
    assert tokenizer.decode(tokenizer.encode("the theory")) == "the theory"
    assert tokenizer.special_tokens["▁the"] not in tokenizer.encode("the theory")


def test_without_an_unknown_token_an_unknown_character_is_an_error():
    tokenizer = UnigramTokenizer([("▁", -1.0), ("a", -1.0)], {}, unk_id=None)
    assert tokenizer.encode("aa") == [0, 1, 1]
    with pytest.raises(ValueError, match="'xy' is not in the vocabulary"):
        tokenizer.encode("axya")


def test_sampled_segmentations_spell_the_same_text(trained):
    text = DOCUMENTS[0][:500]
    samples = {tuple(trained.sample(text, alpha=0.2, seed=seed)) for seed in range(5)}
    assert len(samples) == 5
    assert {trained.decode(ids) for ids in samples} == {trained.decode(trained.encode(text))}
    assert trained.sample(text, alpha=0.2, seed=3) == trained.sample(text, alpha=0.2, seed=3)
    assert trained.sample("the statement", alpha=1e4) == trained.encode("the statement")
    assert 0 not in trained.sample("<unk>")
    assert trained.sample("<unk>", allowed_special="all") == [0]
    with pytest.raises(ValueError, match="alpha must be"):
        trained.sample(text, alpha=-1.0)


def test_lone_surrogates_are_not_in_the_way(trained):
    assert trained.decode(trained.encode("the\ud800end")) == "the end"
    assert UnigramTokenizer.train(["a\ud800b"], 4).encode("a\ud800b") == UnigramTokenizer.train(
        ["a b"], 4
    ).encode("a b")


def test_a_million_characters_can_be_encoded(trained):
    text = "ab, the " * 125_000
    assert trained.decode(trained.encode(text)) == text
    # One word: no cache helps.
    assert trained.decode(trained.encode("ab" * 50_000)) == "ab" * 50_000


@pytest.mark.parametrize("texts", [[], [""], ["\x01"]])
def test_an_empty_corpus_is_refused(texts):
    with pytest.raises(ValueError, match="corpus is empty"):
        UnigramTokenizer.train(texts, 100)


def test_bad_arguments_of_training_are_refused():
    with pytest.raises(TypeError, match=r"pass \[text\]"):
        UnigramTokenizer.train("one text", 100)
    with pytest.raises(TypeError, match="list of names"):
        UnigramTokenizer.train(["a"], 100, "<unk>")
    with pytest.raises(ValueError, match="twice"):
        UnigramTokenizer.train(["a"], 100, ["<unk>", "<unk>"])


def test_a_vocabulary_too_small_for_the_characters_is_refused_with_the_size_that_is_not():
    # a, b, c and the space.
    with pytest.raises(
        ValueError, match="vocab_size is 4, but the 4 characters of the texts and 1 special tokens need 5"
    ):
        UnigramTokenizer.train(["abc"], 4)
    assert UnigramTokenizer.train(["abc"], 5).vocab_size == 5
    with pytest.warns(UserWarning, match="vocabulary of 5 only, not 6"):
        assert UnigramTokenizer.train(["abc"], 6).vocab_size == 5


def test_ids_out_of_range_and_text_that_is_no_string_are_refused(trained):
    with pytest.raises(ValueError, match="500 is outside the vocabulary of 500"):
        trained.decode([500])
    with pytest.raises(TypeError, match="not bytes"):
        trained.encode(b"text")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: d["model"]["vocab"].append(["the"]), "damaged: a piece and its score"),
        (lambda d: d["model"]["vocab"].append(["new", "-1.0"]), "damaged: a piece and its score"),
        (lambda d: d["model"]["vocab"].append(["e", -1.0]), "none twice"),
        (lambda d: d["model"]["vocab"].append(["new", float("nan")]), "finite score"),
        (lambda d: d["model"].update(unk_id=500), "unk_id is 500"),
        (lambda d: d["model"].update(unk_id="<unk>"), "damaged: unk_id"),
        (lambda d: d["added_tokens"][0].update(id=3), "must hold the special token '<unk>'"),
        (lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": ""}), "'Precompiled'"),
        (lambda d: d.update(pre_tokenizer=None), "only a Metaspace"),
        (lambda d: d["model"].update(type="WordPiece"), "WordPieceTokenizer"),
        (lambda d: d.pop("model"), "not a tokenizer.json"),
    ],
)
def test_damaged_and_foreign_files_are_refused_with_path_and_reason(trained, tmp_path, damage, reason):
    trained.save(tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    damage(document)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"(?s)damaged\.json.*{reason}"):
        UnigramTokenizer.load(path)


def test_a_truncated_file_is_refused_with_its_path(trained, tmp_path):
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"tokenizer\.json: damaged or cut short"):
        UnigramTokenizer.load(tmp_path)


def test_special_tokens_behind_the_vocabulary_are_read(trained, tmp_path):
    """Hugging Face's add_special_tokens gives them the next ids, outside the model."""
    trained.save(tmp_path)
    reference = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    reference.add_special_tokens(["<mask>", "<pad>"])
    reference.save(str(tmp_path / "more.json"))
    tokenizer = UnigramTokenizer.load(tmp_path / "more.json")
    assert tokenizer.special_tokens == {"<unk>": 0, "<mask>": 500, "<pad>": 501}
    text = "a <mask> b"
    assert tokenizer.encode(text, allowed_special="all") == reference.encode(text).ids
    assert tokenizer.encode("a b") == trained.encode("a b")


def test_decoding_is_that_of_hugging_face(trained):
    decoder = decoders.Metaspace()
    for text in ["the end", " the end", "", "e", FOREIGN]:
        ids = trained.encode(text)
        assert trained.decode(ids) == decoder.decode([trained.vocab[token_id] for token_id in ids])
