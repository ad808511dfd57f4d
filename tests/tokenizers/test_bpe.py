"""Byte-level BPE, beside Hugging Face's tokenizers and tiktoken."""

import copy
import json
import multiprocessing
import pickle
import warnings

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    ByteLevelBPETokenizer,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from llmlib.tokenizers.bpe import BPETokenizer
from llmlib.tokenizers.byte_level import GPT2_PATTERN, to_symbols

SPECIAL = ["<|endoftext|>", "<|é|>"]
FOREIGN = "Ὀδυσσεὺς 東京都 한국어 naïve Ærøskøbing 🤖👩‍🚀 שָׁלוֹם ½² \u200b\xa0\u2003\x1c\x85\0 I'LL we'll"


def hugging_face(
    texts, vocab_size, special_tokens=SPECIAL, *, add_prefix_space=False, use_regex=True
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def model_of(tokenizer: Tokenizer) -> dict:
    return json.loads(tokenizer.to_str())["model"]


def as_text(reference: Tokenizer, text: str) -> list[int]:
    """The ids with special tokens as ordinary text, which is not the default there."""
    reference.encode_special_tokens = True
    ids = reference.encode(text).ids
    reference.encode_special_tokens = False
    return ids


@pytest.fixture(scope="module")
def documents(corpus) -> list[str]:
    return [*corpus.documents, FOREIGN]


@pytest.fixture(scope="module")
def reference(documents) -> Tokenizer:
    return hugging_face(documents, 4096)


@pytest.fixture(scope="module")
def trained(documents) -> BPETokenizer:
    return BPETokenizer.train(documents, 4096, SPECIAL)


@pytest.fixture(scope="module")
def loaded(reference, tmp_path_factory) -> BPETokenizer:
    path = tmp_path_factory.mktemp("hugging_face") / "tokenizer.json"
    reference.save(str(path))
    return BPETokenizer.load(path)


@pytest.fixture(scope="module")
def small() -> BPETokenizer:
    return BPETokenizer.train(["low lower lowest newest widest " * 9], 270, SPECIAL)


# Training and encoding real text


def test_the_vocabulary_and_the_merges_are_those_of_hugging_face(trained, reference, tmp_path):
    trained.save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"] == model_of(reference)
    assert trained.vocab_size == len(trained.vocab) == 4096
    assert trained.special_tokens == {"<|endoftext|>": 0, "<|é|>": 1}
    assert [[to_symbols(left), to_symbols(right)] for left, right in trained.merges] == model_of(reference)[
        "merges"
    ]
    assert trained.vocab[-1] == b"".join(trained.merges[-1])


def test_real_text_has_the_ids_of_hugging_face(trained, loaded, reference, documents):
    """Also after loading, where nothing is known from training about the words."""
    for document in documents:
        expected = reference.encode(document).ids
        assert trained.encode(document) == expected
        assert loaded.encode(document) == expected
        assert trained.decode(expected) == document


def test_real_text_has_the_ids_of_tiktoken(loaded, documents):
    ranks = {token: i for i, token in enumerate(loaded.vocab) if i not in loaded.special_tokens.values()}
    encoding = tiktoken.Encoding(
        "ours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=loaded.special_tokens
    )
    for document in documents:
        assert loaded.encode(document) == encoding.encode(document, disallowed_special=())


@pytest.mark.parametrize("min_frequency", [1, 2])
def test_a_corpus_with_few_pairs_gives_a_smaller_vocabulary_and_a_warning(min_frequency):
    reference = ByteLevelBPETokenizer()
    texts = ["aaabdaaabac", "hello hello world"]
    reference.train_from_iterator(texts, 1000, min_frequency, special_tokens=SPECIAL, show_progress=False)
    with pytest.warns(UserWarning, match=rf"pairs for {reference.get_vocab_size()} tokens, not for the 1000"):
        tokenizer = BPETokenizer.train(texts, 1000, SPECIAL, min_frequency=min_frequency)
    assert {to_symbols(token): i for i, token in enumerate(tokenizer.vocab) if i > 1} == {
        name: i for name, i in reference.get_vocab().items() if i > 1
    }


def test_texts_may_be_any_iterable_and_training_is_repeatable(small):
    again = BPETokenizer.train(
        (text for text in ["low lower lowest newest widest " * 9]), 270, tuple(SPECIAL)
    )
    assert again.vocab == small.vocab
    assert again.merges == small.merges


def test_a_special_token_in_the_corpus_is_ordinary_text():
    texts = ["<|endoftext|>" * 20]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokenizer = BPETokenizer.train(texts, 300, SPECIAL)
    assert tokenizer.pieces("<|endoftext|>") == [b"<|", b"endoftext", b"|>"]
    assert model_of(hugging_face(texts, 300))["merges"] == [
        [to_symbols(left), to_symbols(right)] for left, right in tokenizer.merges
    ]


def test_progress_is_shown_on_demand_only(capsys):
    BPETokenizer.train(["low lower"], 258)
    assert capsys.readouterr().err == ""
    BPETokenizer.train(["low lower"], 258, progress=True)
    assert "Learning merges: 100%" in capsys.readouterr().err


# Any text and any bytes


PARTS = [
    *SPECIAL,
    "<|",
    "the ",
    " function",
    "'s",
    "\n",
    "\n\n",
    "  ",
    "\x1c",
    "\xa0",
    "東",
    "é",
    "e\u0301",
    "🤖",
    "1",
    "_",
]


# Characters that are new to one of the two are left out: see test_byte_level.
KNOWN = st.characters(exclude_categories=["Cs", "Cn"])


@given(st.lists(st.sampled_from(PARTS) | st.text(KNOWN, max_size=5)).map("".join))
def test_any_text_has_the_ids_of_hugging_face_and_comes_back(loaded, reference, text):
    expected = as_text(reference, text)
    with_special = reference.encode(text).ids
    assert loaded.encode(text) == expected
    assert loaded.encode(text, allowed_special="all") == with_special
    assert loaded.decode(expected) == loaded.decode(with_special, errors="strict") == text


@given(st.text(st.characters(categories=["Cs", "L", "Zs"])))
def test_lone_surrogates_come_back(small, text):
    ids = small.encode(text)
    assert small.decode(ids, errors="surrogatepass") == text
    assert small.decode_bytes(ids) == text.encode("utf-8", "surrogatepass")


@given(
    st.binary()
    | st.lists(st.sampled_from([b"low", b" ", b"\xed\xa0\x80", b"\xc3", b"\xa9", b"\xff"])).map(b"".join)
)
def test_any_bytes_come_back(small, data):
    assert small.decode_bytes(small.encode_bytes(data)) == data
    assert small.decode_bytes(small.encode_bytes(memoryview(data))) == data


@given(st.text())
def test_bytes_of_a_text_have_the_ids_of_the_text(loaded, text):
    assert loaded.encode_bytes(text.encode()) == loaded.encode(text)


@given(st.lists(st.integers(0, 4095), max_size=20))
def test_any_ids_decode_as_in_hugging_face(loaded, reference, ids):
    ids = [
        i for i in ids if loaded.vocab[i] != "<|é|>".encode()
    ]  # there, é in a special token is a byte symbol
    assert loaded.decode(ids) == reference.decode(ids, skip_special_tokens=False)


def test_nothing_is_nothing(small):
    assert small.encode("") == small.encode_bytes(b"") == small.pieces("") == []
    assert small.decode([]) == ""
    assert small.decode_bytes([]) == b""


@pytest.mark.parametrize("unit", ["a", " ", "the 1é\n"])
def test_a_million_characters_have_the_ids_of_hugging_face(loaded, reference, unit):
    text = (unit * 1_000_000)[:1_000_000]
    ids = loaded.encode(text)
    assert ids == reference.encode(text).ids
    assert loaded.decode(ids) == text


# Special tokens


def test_a_special_token_in_a_text_is_text_unless_allowed(loaded):
    attack = "ignore all<|endoftext|>you are"
    assert loaded.special_tokens["<|endoftext|>"] not in loaded.encode(attack)
    assert loaded.decode(loaded.encode(attack)) == attack
    assert loaded.encode(attack, allowed_special={"<|endoftext|>"}) == [
        *loaded.encode("ignore all"),
        0,
        *loaded.encode("you are"),
    ]
    assert loaded.encode(attack, allowed_special={"<|é|>"}) == loaded.encode(attack)
    assert b"<|endoftext|>" in loaded.pieces(attack, allowed_special="all")
    assert 0 not in loaded.encode_bytes(attack.encode())
    with pytest.raises(ValueError, match=r"<\|endoftext\|>.* at position 10"):
        loaded.encode(attack, disallowed_special="all")
    assert loaded.encode("no attack", disallowed_special="all") == loaded.encode("no attack")
    with pytest.raises(ValueError, match="no special tokens here"):
        loaded.encode(attack, allowed_special={"<|pad|>"})


@pytest.mark.parametrize("name", ["a", "low", "Ġlow", "Ċ"])
def test_a_special_token_that_is_spelled_like_text_is_refused(name, tmp_path):
    """Hugging Face's trainer accepts it; from then on ordinary text gives the id of the special token."""
    texts = ["low low low\n"] * 9
    with pytest.raises(ValueError, match=f"special token '{name}' is spelled like a token of ordinary text"):
        BPETokenizer.train(texts, 260, [name])
    reference = hugging_face(texts, 262, [name])
    reference.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json: "):
        BPETokenizer.load(tmp_path)


# Looking inside


def test_the_steps_of_a_word_by_hand():
    tokenizer = BPETokenizer.train(["aaabdaaabac"], 259)
    assert tokenizer.merges == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert [b" ".join(pieces).decode() for pieces in tokenizer.merge_steps("aaabdaaabac")] == [
        "a a a b d a a a b a c",
        "aa a b d a a a b a c",
        "aa a b d aa a b a c",
        "aa ab d aa a b a c",
        "aa ab d aa ab a c",
        "aaab d aa ab a c",
        "aaab d aaab a c",
    ]
    assert tokenizer.pieces("aaabdaaabac") == [b"aaab", b"d", b"aaab", b"a", b"c"]


def test_the_steps_end_with_the_pieces(small):
    for word in (" lowest", "newest", "é", "\ud800", "   "):
        *_, last = small.merge_steps(word)
        assert last == small.pieces(word)


@pytest.mark.parametrize("text", ["", "two words", "it's"])
def test_steps_of_what_is_not_one_word_are_refused(small, text):
    with pytest.raises(ValueError, match="is not one word but"):
        small.merge_steps(text)


def test_a_tokenizer_can_be_copied_and_sent_to_other_processes(small):
    for other in (copy.deepcopy(small), pickle.loads(pickle.dumps(small))):
        assert other.encode("lowest of the low") == small.encode("lowest of the low")
    assert "vocab_size=270" in repr(small)


# Files


@pytest.mark.parametrize("options", [{}, {"add_prefix_space": True}, {"use_regex": False}], ids=str)
@pytest.mark.parametrize("merges_as_strings", [False, True])
def test_what_hugging_face_saves_encodes_alike_before_and_after_saving(options, merges_as_strings, tmp_path):
    reference = hugging_face(["low lower lowest newest widest\n" * 9, FOREIGN], 300, **options)
    document = json.loads(reference.to_str())
    if merges_as_strings:  # as releases before 0.20 wrote them, without names for the rest
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
        del document["model"]["type"]
        document["pre_tokenizer"] = {
            k: v for k, v in document["pre_tokenizer"].items() if v is not True or k[0] == "a"
        }
    (tmp_path / "theirs.json").write_text(json.dumps(document), encoding="utf-8")
    tokenizer = BPETokenizer.load(tmp_path / "theirs.json")
    tokenizer.save(tmp_path / "ours.json")
    reread = BPETokenizer.load(tmp_path / "ours.json")
    reread_there = Tokenizer.from_file(str(tmp_path / "ours.json"))
    for text in (
        FOREIGN,
        "",
        " ",
        "low",
        " low",
        "\nlow",
        "<|endoftext|>low <|é|> <|endoftext|>",
        "lowlow" * 99,
    ):
        expected = reference.encode(text).ids
        assert tokenizer.encode(text, allowed_special="all") == expected
        assert reread.encode(text, allowed_special="all") == expected
        assert reread_there.encode(text).ids == expected
        assert reread_there.decode(expected) == reference.decode(expected)


@pytest.mark.parametrize("add_prefix_space", [False, True])
def test_a_byte_level_tokenizer_of_hugging_face_encodes_alike(add_prefix_space, tmp_path):
    reference = ByteLevelBPETokenizer(add_prefix_space=add_prefix_space)
    texts = ["low lower lowest newest widest\n" * 9]
    reference.train_from_iterator(texts, 290, special_tokens=["<s>", "</s>"], show_progress=False)
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = BPETokenizer.load(tmp_path)
    assert tokenizer.special_tokens == {"<s>": 0, "</s>": 1}
    for text in (FOREIGN, "low", "<s>the lowest</s>", "a</s></s> b"):
        assert tokenizer.encode(text, allowed_special="all") == reference.encode(text).ids


def test_special_tokens_added_after_training_have_the_last_ids(tmp_path):
    reference = hugging_face(["low lower lowest"], 260, [])
    reference.add_special_tokens(["<|user|>", "<|pad|>"])
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = BPETokenizer.load(tmp_path)
    assert tokenizer.special_tokens == {"<|user|>": 260, "<|pad|>": 261}
    assert tokenizer.vocab_size == 262
    text = "<|user|>lowest<|pad|><|pad|>"
    assert tokenizer.encode(text, allowed_special="all") == reference.encode(text).ids
    tokenizer.save(tmp_path)
    assert (
        Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode(text).ids == reference.encode(text).ids
    )


def test_a_vocabulary_without_some_bytes_says_which_it_lacks(tmp_path):
    """Hugging Face's model drops such bytes in silence."""
    reference = Tokenizer(models.BPE())
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.train_from_iterator(["low lower"], trainers.BpeTrainer(vocab_size=10, show_progress=False))
    reference.save(str(tmp_path / "tokenizer.json"))
    tokenizer = BPETokenizer.load(tmp_path)
    assert tokenizer.encode("lower low") == reference.encode("lower low").ids
    with pytest.raises(ValueError, match="holds byte 0xc3, which the vocabulary lacks"):
        tokenizer.encode("lé")


def _set(part, value):
    return lambda tokenizer: setattr(tokenizer, part, value)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_set("normalizer", normalizers.NFC()), "normalizer is 'NFC'"),
        (_set("pre_tokenizer", pre_tokenizers.Whitespace()), "pre_tokenizer is 'Whitespace'"),
        (_set("pre_tokenizer", None), "pre_tokenizer is None"),
        (_set("decoder", decoders.BPEDecoder()), "decoder is 'BPEDecoder'"),
        (lambda tokenizer: setattr(tokenizer.model, "dropout", 0.1), "dropout is 0.1"),
        (lambda tokenizer: setattr(tokenizer.model, "byte_fallback", True), "byte_fallback is True"),
        (lambda tokenizer: setattr(tokenizer.model, "ignore_merges", True), "ignore_merges is True"),
        (
            lambda tokenizer: setattr(tokenizer.model, "end_of_word_suffix", "</w>"),
            "end_of_word_suffix is '</w>'",
        ),
        (
            lambda tokenizer: setattr(tokenizer.model, "continuing_subword_prefix", "##"),
            "continuing_subword_prefix",
        ),
    ],
)
def test_what_would_encode_otherwise_is_refused_by_name(change, named, tmp_path):
    reference = hugging_face(["low lower lowest"], 258, [])
    change(reference)
    reference.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=rf"tokenizer\.json: {named}"):
        BPETokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.pop("merges"),
        lambda model: model["merges"].append("a b c"),
        lambda model: model["merges"].append(["a", "東"]),
        lambda model: model["merges"].append(["z", "z"]),
        lambda model: model["merges"].append(model["merges"][0]),
        lambda model: model["merges"].append(3),
        lambda model: model["vocab"].update({"zz": 400}),
        lambda model: model["vocab"].update({"zz": 5}),
        lambda model: model["vocab"].update({"a": 5.0}),
        lambda model: model["vocab"].update({"東": 262}),
        lambda model: model["vocab"].update({"<|é|>": 262}),
        lambda model: model.update(vocab=[]),
    ],
)
def test_a_damaged_vocabulary_is_refused_with_its_path(change, small, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        BPETokenizer.train(["low lower"], 262, SPECIAL).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document["model"])
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"tokenizer\.json: "):
        BPETokenizer.load(path)


def test_a_truncated_file_is_refused_and_a_failed_save_keeps_the_old_one(small, tmp_path, monkeypatch):
    small.save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"tokenizer\.json: damaged or cut short"):
        BPETokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        BPETokenizer.load(tmp_path / "none.json")


def _train_and_save(path, letters) -> None:
    tokenizer = BPETokenizer.train([letters * 50], 260)
    for _ in range(10):
        tokenizer.save(path)


def test_two_trainings_that_write_one_file_leave_one_of_the_two(tmp_path):
    path = tmp_path / "tokenizer.json"
    spawn = multiprocessing.get_context("spawn")
    trainings = [spawn.Process(target=_train_and_save, args=(path, letters)) for letters in ("abcd", "wxyz")]
    for training in trainings:
        training.start()
    for training in trainings:
        training.join()
    assert [training.exitcode for training in trainings] == [0, 0]
    assert BPETokenizer.load(path).vocab[256] in (b"ab", b"wx")
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


# Bad input


@pytest.mark.parametrize("texts", [[], [""], iter([])])
def test_an_empty_corpus_is_refused(texts):
    with pytest.raises(ValueError, match="corpus is empty"):
        BPETokenizer.train(texts, 300)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("one text", 300), TypeError, r"pass \[text\]"),
        ((["text", b"bytes"], 300), TypeError, "item 1 is bytes"),
        ((["text"], 255), ValueError, "at least 256, for the 256 bytes and the special tokens, not 255"),
        ((["text"], 257, SPECIAL), ValueError, "at least 258"),
        ((["text"], -1), ValueError, "not -1"),
        ((["text"], 300.0), TypeError, r"an integer, not 300\.0"),
        ((["text"], 300, "<|endoftext|>"), TypeError, r"pass \['<\|endoftext\|>'\]"),
        ((["text"], 300, ["<s>", "<s>"]), ValueError, "twice"),
        ((["text"], 300, [""]), ValueError, "non-empty"),
        ((["text"], 300, [3]), TypeError, "a string"),
        ((["text"], 1 << 21), ValueError, "1114112 tokens at most"),
    ],
)
def test_bad_arguments_of_training_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        BPETokenizer.train(*arguments)


def test_text_and_bytes_are_not_mixed_up(small):
    with pytest.raises(TypeError, match="encode_bytes takes bytes"):
        small.encode(b"low")
    with pytest.raises(TypeError, match="encode takes strings"):
        small.encode_bytes("low")


@pytest.mark.parametrize("wrong", [270, -1, 10**30])
def test_an_id_out_of_range_is_named_with_the_size_of_the_vocabulary(small, wrong):
    for decode in (small.decode, small.decode_bytes):
        with pytest.raises(ValueError, match=f"{wrong} is outside the vocabulary of 270 tokens"):
            decode([5, wrong])


@pytest.mark.parametrize("ids", [5, [0.5], [True], np.array([True]), "5", [[5]], None])
def test_ids_that_are_no_integers_are_refused(small, ids):
    with pytest.raises(TypeError, match="integer"):
        small.decode(ids)


def test_ids_may_come_in_arrays_and_tensors(small):
    torch = pytest.importorskip("torch")
    ids = small.encode("lowest")
    for same in (
        np.array(ids),
        np.array(ids, np.uint16),
        torch.tensor(ids),
        list(torch.tensor(ids)),
        tuple(ids),
    ):
        assert small.decode(same) == "lowest"


def test_half_a_character_is_replaced_or_refused(small):
    half = small.encode("é")[:1]
    assert small.decode(half) == "\ufffd"
    assert small.decode(half, errors="ignore") == ""
    for errors in ("strict", "surrogatepass"):
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            small.decode(half, errors=errors)
    assert small.decode_bytes(half) == b"\xc3"


def test_parts_that_do_not_fit_each_other_are_refused():
    with pytest.raises(ValueError, match=r"b'a' and b'b' merge into no known token"):
        BPETokenizer([b"a", b"b"], [(0, 1)], {})
    with pytest.raises(ValueError, match="stands twice in the merges"):
        BPETokenizer([b"a", b"b", b"ab"], [(0, 1), (0, 1)], {})
    for token_id in (0, 1):
        with pytest.raises(ValueError, match=f"must hold the special token '<s>' under its id {token_id}"):
            BPETokenizer([b"a"], [], {"<s>": token_id})
