"""``corpora.load`` takes a name, a path or a data set, and says what to do when it cannot serve."""

import json
import sys
from pathlib import Path

import pytest

from llmlib import corpora


def test_available_names_what_needs_no_network():
    assert list(corpora.available()) == ["python-docs", "python-stack"]
    assert all(description for description in corpora.available().values())


@pytest.mark.parametrize("name", ["no-such", "./no/such", "", "a/b/c", "C:\\no\\such"])
def test_an_unknown_name_is_refused_with_what_works(name):
    with pytest.raises(
        ValueError, match=r"no known corpus.*'python-docs' and 'python-stack'.*hf:owner/name"
    ) as error:
        corpora.load(name)
    assert repr(name) in str(error.value)


def test_what_is_neither_name_nor_path_is_refused():
    with pytest.raises(TypeError, match="got 3"):
        corpora.load(3)


class TestFiles:
    def test_each_text_file_of_a_folder_is_a_document(self, tmp_path):
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "1.txt").write_text("deep")
        (tmp_path / "B.txt").write_bytes("\ufeffBOM\r\nline é".encode())
        (tmp_path / "a.md").write_text("top")
        (tmp_path / "blank.txt").write_text(" \n")
        (tmp_path / ".hidden").write_text("no")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "config").write_text("no")
        assert corpora.load(str(tmp_path)).documents == ("BOM\nline é", "top", "deep")
        assert corpora.load(tmp_path).documents == ("BOM\nline é", "top", "deep")
        assert corpora.load(tmp_path, pattern="**/*.txt").documents == ("BOM\nline é", "deep")

    def test_files_that_are_not_text_are_left_out_with_a_warning_that_counts_them(self, tmp_path):
        (tmp_path / "a.txt").write_text("one")
        (tmp_path / "b.txt").write_text("two")
        (tmp_path / "c.bin").write_bytes(b"\xff\xfe")
        (tmp_path / "d.bin").write_bytes(b"\0\0")
        with pytest.warns(UserWarning, match=r"2 of the 4 files .* not UTF-8 text .* c\.bin"):
            assert corpora.load(tmp_path).documents == ("one", "two")

    def test_a_single_file_holds_its_end_out(self, tmp_path):
        paragraphs = [f"Paragraph {number},\nin two lines." for number in range(100)]
        file = tmp_path / "book.txt"
        file.write_text("\n\n".join(paragraphs))
        corpus = corpora.load(file)
        assert "".join(corpus.documents) == "\n\n".join(paragraphs)
        assert corpus.validation == ("\n\n".join(paragraphs[95:]),)

    def test_a_single_file_without_paragraphs_is_cut_at_a_line(self, tmp_path):
        file = tmp_path / "book.txt"
        file.write_text("\n".join(["line"] * 20))
        assert corpora.load(file).validation == ("line",)

    def test_a_single_file_may_part_its_documents(self, tmp_path):
        file = tmp_path / "stories.txt"
        file.write_text("One.\n\nStill one.<|endoftext|>Two.<|endoftext|>\n")
        assert corpora.load(file).documents == ("One.\n\nStill one.", "Two.")

    def test_a_name_of_a_corpus_is_a_folder_if_it_comes_as_a_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("python-docs").mkdir()
        for number in range(2):
            Path("python-docs", f"{number}.txt").write_text(str(number))
        assert corpora.load(Path("python-docs")).documents == ("0", "1")

    def test_what_holds_no_text_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="has no file of text: 0 files match"):
            corpora.load(tmp_path)
        empty = tmp_path / "empty.txt"
        empty.touch()
        with pytest.raises(ValueError, match=r"empty\.txt' is empty"):
            corpora.load(empty)
        with pytest.raises(ValueError, match=r"1 files match .* the rest are empty"):
            corpora.load(tmp_path)
        empty.write_text("one line")
        with pytest.raises(ValueError, match="two different documents"):
            corpora.load(empty)
        empty.write_bytes(b"\x89PNG\r\n")
        with pytest.raises(ValueError, match=r"empty\.txt is not UTF-8 text"):
            corpora.load(empty)

    def test_a_path_where_nothing_is(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no file or folder at .*nothing"):
            corpora.load(tmp_path / "nothing")


class TestHub:
    @pytest.fixture(autouse=True)
    def hub(self, tmp_path, monkeypatch):
        """The library reads a folder of this name exactly as it reads a data set of the hub."""
        datasets = pytest.importorskip("datasets", reason="run `pip install datasets`")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.chdir(tmp_path)

    @staticmethod
    def save(file: str, rows: list[dict[str, object]]) -> None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("\n".join(map(json.dumps, rows)))

    def test_rows_of_the_training_split_are_documents(self):
        rows = [{"text": f"Row {number}.", "label": number} for number in range(30)]
        self.save("owner/name/train.jsonl", [*rows, {"text": "", "label": 0}, {"text": None, "label": 0}])
        self.save("owner/name/test.jsonl", [{"text": "Not for training.", "label": 0}])
        corpus = corpora.load("hf:owner/name")
        assert corpus.name == "hf:owner/name"
        assert corpus.documents == tuple(row["text"] for row in rows)
        assert corpora.load("hf:owner/name/default").documents == corpus.documents

    def test_a_data_set_without_a_column_of_text_is_refused_with_its_columns(self):
        self.save("owner/name/train.jsonl", [{"question": "?", "answer": "!"}])
        with pytest.raises(ValueError, match=r"no column .* 'text'.*\['question', 'answer'\]"):
            corpora.load("hf:owner/name")
        self.save("owner/numbers/train.jsonl", [{"text": 1}])
        with pytest.raises(ValueError, match="no column of strings"):
            corpora.load("hf:owner/numbers")

    def test_a_data_set_without_training_split_is_refused_with_its_splits(self):
        self.save("owner/name/test.jsonl", [{"text": "a"}])
        with pytest.raises(ValueError, match=r"no split 'train'; its splits are \['test'\]"):
            corpora.load("hf:owner/name")

    def test_a_configuration_that_does_not_exist_is_refused_with_those_that_do(self):
        self.save("owner/name/train.jsonl", [{"text": "a"}])
        with pytest.raises(ValueError, match=r"Available: \['default'\]"):
            corpora.load("hf:owner/name/other")

    @pytest.mark.parametrize("name", ["hf:owner/name", "owner/name"])
    def test_without_a_network_it_says_what_works(self, name):
        with pytest.raises(ConnectionError, match=r"'owner/name' cannot be loaded.*'python-docs'"):
            corpora.load(name)

    def test_a_bare_name_may_have_been_meant_as_a_path(self):
        with pytest.raises(ConnectionError, match=r"^There is no file or folder 'texts/mine.txt' here"):
            corpora.load("texts/mine.txt")

    @pytest.mark.parametrize("name", ["hf:", "hf:/", "hf:a/b/c/d", "hf:a b"])
    def test_a_malformed_name_is_refused(self, name):
        with pytest.raises(ValueError, match="named as owner/name"):
            corpora.load(name)

    def test_a_data_set_that_the_hub_does_not_have(self, monkeypatch):
        import datasets

        def load_dataset(repository, configuration):
            raise datasets.exceptions.DatasetNotFoundError("doesn't exist")

        monkeypatch.setattr(datasets, "load_dataset", load_dataset)
        with pytest.raises(ValueError, match=r"no data set 'owner/name' on the hub.*hf auth login"):
            corpora.load("hf:owner/name")

    def test_the_missing_library_is_named_with_the_command_that_installs_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with pytest.raises(ModuleNotFoundError, match=r"`pip install datasets`.*'python-docs'"):
            corpora.load("hf:owner/name")
