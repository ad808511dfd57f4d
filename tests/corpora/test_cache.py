"""What is collected is kept; processes share it; and no trouble with the disk loses the text."""

import os
import subprocess
import sys

import pytest

from llmlib.corpora import cache

DOCUMENTS = ["first", "second: é 日本", ""]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMLIB_CACHE", str(tmp_path / "made" / "when needed"))
    return tmp_path / "made" / "when needed"


def collected() -> list[str]:
    return list(DOCUMENTS)


def not_again() -> list[str]:
    raise AssertionError("collected again")


def test_documents_are_collected_once_and_come_back_as_they_were(folder):
    assert cache.cached("mine", {"python": "3"}, collected) == DOCUMENTS
    assert cache.cached("mine", {"python": "3"}, not_again) == DOCUMENTS


def test_other_versions_are_collected_again(folder):
    cache.cached("mine", {"python": "3"}, collected)
    assert cache.cached("mine", {"python": "4"}, lambda: ["new"]) == ["new"]
    assert cache.cached("mine", {"python": "3"}, not_again) == DOCUMENTS


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied", "foreign", "not UTF-8"])
def test_a_damaged_file_is_collected_again(folder, damage):
    cache.cached("mine", {}, collected)
    (file,) = folder.glob("*.json")
    content = file.read_bytes()
    damaged = {
        "cut": content[:-1],
        "changed": content.replace(b"first", b"worst"),
        "emptied": b"",
        "foreign": b'["other"]',
        "not UTF-8": b"\xff\n\xff",
    }
    file.write_bytes(damaged[damage])
    assert cache.cached("mine", {}, collected) == DOCUMENTS
    assert cache.cached("mine", {}, not_again) == DOCUMENTS


PROCESS = """
import os, pathlib, sys, time
from llmlib.corpora import cache

def collect():
    with open(sys.argv[1], "a") as log:
        log.write("collected\\n")
    time.sleep(0.2)
    return ["text"] * 1000

documents = cache.cached("shared", {}, collect)
assert documents == ["text"] * 1000
"""


def test_processes_that_start_together_collect_once(folder, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", PROCESS, str(log)]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    assert log.read_text() == "collected\n"


def test_a_process_that_is_killed_while_it_collects_leaves_the_way_free(folder, tmp_path):
    killed = PROCESS.replace("time.sleep(0.2)", "os.kill(os.getpid(), 9)")
    process = subprocess.run([sys.executable, "-c", killed, str(tmp_path / "log")], timeout=60, check=False)
    assert process.returncode != 0
    assert cache.cached("shared", {}, collected) == DOCUMENTS


def test_a_folder_that_cannot_be_made_costs_a_warning_and_not_the_text(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMLIB_CACHE", str(tmp_path / "file" / "folder"))
    with pytest.warns(UserWarning, match=r"cannot be kept in .*file.folder.*LLMLIB_CACHE") as warned:
        assert cache.cached("mine", {}, collected) == DOCUMENTS
    assert len(warned) == 1


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_costs_a_warning_and_not_the_text(folder):
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    with pytest.warns(UserWarning, match="LLMLIB_CACHE"):
        assert cache.cached("mine", {}, collected) == DOCUMENTS


@pytest.mark.parametrize("call", ["replace", "fdopen"])
def test_a_full_disk_costs_a_warning_and_leaves_nothing_half_written(folder, monkeypatch, call):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, call, full)
    with pytest.warns(UserWarning, match="No space left"):
        assert cache.cached("mine", {}, collected) == DOCUMENTS
    assert [file.suffix for file in folder.iterdir()] == [".lock"]


def test_the_cache_is_in_the_home_folder_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setattr(cache.Path, "home", lambda: tmp_path)
    monkeypatch.delenv("LLMLIB_CACHE")
    assert cache.folder() == tmp_path / ".cache" / "llmlib"
    monkeypatch.setenv("LLMLIB_CACHE", str(tmp_path / "elsewhere"))
    assert cache.folder() == tmp_path / "elsewhere"
