"""The file: written whole, read with care."""

import json
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models

from llmlib.tokenizers import BPETokenizer, UnigramTokenizer, WordPieceTokenizer, tokenizer_json
from llmlib.tokenizers.special_tokens import SpecialTokens

DOCUMENT = {"added_tokens": [], "model": {"type": "BPE", "vocab": {"é": 0}}}


@pytest.mark.parametrize("name", ["", "tokenizer.json", "of_mine.json"])
def test_a_path_is_a_file_or_a_folder(tmp_path, name):
    tokenizer_json.write(tmp_path / name, DOCUMENT)
    assert [file.name for file in tmp_path.iterdir()] == [name or "tokenizer.json"]
    assert tokenizer_json.read(tmp_path / name, "BPE") == DOCUMENT
    assert tokenizer_json.read(str(tmp_path / name), "BPE") == DOCUMENT


def test_the_text_is_utf8_and_readable(tmp_path):
    tokenizer_json.write(tmp_path, DOCUMENT)
    assert '"é": 0' in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="Windows keeps permissions otherwise")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    tokenizer_json.write(tmp_path, DOCUMENT)
    (tmp_path / "other").touch()
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    tokenizer_json.write(tmp_path, DOCUMENT)
    before = (tmp_path / "tokenizer.json").read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        tokenizer_json.write(tmp_path, {**DOCUMENT, "version": "1.0"})
    with pytest.raises(TypeError):
        tokenizer_json.write(tmp_path, {"not JSON": object()})
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
    assert (tmp_path / "tokenizer.json").read_bytes() == before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        tokenizer_json.write(tmp_path / "missing" / "tokenizer.json", DOCUMENT)


def _write_many(path: Path, text: str) -> None:
    for _ in range(30):
        tokenizer_json.write(path, {"model": {"type": "BPE", "vocab": {text * 20_000: 0}}})


def test_two_processes_that_write_one_file_do_not_mix(tmp_path):
    path = tmp_path / "tokenizer.json"
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(path, text)) for text in "ab"]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            (word,) = tokenizer_json.read(path, "BPE")["model"]["vocab"]
            seen.add(word)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen <= {"a" * 20_000, "b" * 20_000}
    assert seen
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("kept", [0, 1, 10, -1, -20])
def test_a_file_that_is_cut_short_is_refused_with_its_path(tmp_path, kept):
    path = tmp_path / "tokenizer.json"
    tokenizer_json.write(path, DOCUMENT)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"tokenizer\.json: damaged or cut short"):
        tokenizer_json.read(path, "BPE")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe{}", b"[" * 100_000, b"[]", b"3", b"{}", b'{"model": 3}', b'{"model": {"type": "BPE"}}'],
)
def test_what_is_no_tokenizer_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "foreign.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"foreign\.json: (damaged|not a tokenizer\.json)"):
        tokenizer_json.read(path, "BPE")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tokenizer\.json: no such file"):
        tokenizer_json.read(tmp_path, "BPE")


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("model", "right"),
    [
        (models.BPE(), BPETokenizer),
        (models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"), WordPieceTokenizer),
        (models.Unigram([("a", 0.0)]), UnigramTokenizer),
        (models.WordLevel({"a": 0}, unk_token="a"), None),
    ],
    ids=["BPE", "WordPiece", "Unigram", "WordLevel"],
)
def test_another_model_is_refused_with_the_class_to_use(tmp_path, model, right, named):
    document = json.loads(Tokenizer(model).to_str())
    if not named:  # files of old releases do not name the type
        del document["model"]["type"]
    tokenizer_json.write(tmp_path, document)
    remedy = f"use {right.__name__}.load" if right else "this book has BPETokenizer, WordPieceTokenizer, Uni"
    for wrong in {BPETokenizer, WordPieceTokenizer, UnigramTokenizer} - {right}:
        with pytest.raises(ValueError, match=rf"tokenizer\.json: holds a model of type .*: {remedy}"):
            wrong.load(tmp_path)


def test_truncation_and_padding_are_refused(tmp_path):
    for enable in (
        lambda tokenizer: tokenizer.enable_truncation(4),
        lambda tokenizer: tokenizer.enable_padding(),
    ):
        tokenizer = Tokenizer(models.BPE())
        enable(tokenizer)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        with pytest.raises(ValueError, match=r"sets '(truncation|padding)', which is not supported"):
            tokenizer_json.read(tmp_path, "BPE")


def test_special_tokens_are_written_as_hugging_face_writes_them():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<|endoftext|>", "<|é|>"])
    document = json.loads(tokenizer.to_str())
    special = SpecialTokens({"<|é|>": 1, "<|endoftext|>": 0})
    assert tokenizer_json.added_tokens(special) == document["added_tokens"]
    assert tokenizer_json.special_tokens(document, "path").ids == special.ids


@pytest.mark.parametrize("option", ["single_word", "lstrip", "rstrip"])
def test_added_tokens_that_match_otherwise_are_refused_by_option(option):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens([AddedToken("<mask>", **{option: True})])
    with pytest.raises(ValueError, match=f"of_mine.json: added token '<mask>' has {option}=True"):
        tokenizer_json.special_tokens(json.loads(tokenizer.to_str()), "of_mine.json")


def test_added_tokens_that_are_not_special_are_refused():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_tokens(["word"])
    with pytest.raises(ValueError, match=r"'word' has .*, which is not supported"):
        tokenizer_json.special_tokens(json.loads(tokenizer.to_str()), "path")


def test_normalized_matters_only_where_there_is_a_normalizer():
    entry = {"id": 0, "content": "<s>", "normalized": True, "special": True}
    assert tokenizer_json.special_tokens({"added_tokens": [entry]}, "path").ids == {"<s>": 0}
    with pytest.raises(ValueError, match="normalized=True"):
        tokenizer_json.special_tokens({"added_tokens": [entry], "normalizer": {"type": "NFC"}}, "path")


@pytest.mark.parametrize("entry", [3, {}, {"id": 0}, {"id": "0", "content": "<s>"}, {"id": 0, "content": ""}])
def test_damaged_added_tokens_are_refused(entry):
    with pytest.raises(ValueError, match=r"path: damaged"):
        tokenizer_json.special_tokens({"added_tokens": [entry]}, "path")
