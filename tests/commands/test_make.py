"""The commands of the Makefile: what each asks of its tools, in which order, and what it says."""

import re
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WITHOUT_BROWSER = "not (site or lab or gpu)"


@pytest.fixture
def ready_book(book):
    """A copy of the commands whose .venv is set up; what the set-up asked is forgotten."""
    book.add_python("python3")
    assert book.make("setup").returncode == 0
    book.calls_file.unlink()
    return book


def commands():
    """The commands that `make` lists are those that a person may call."""
    return set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_alone_lists_every_command_and_needs_no_python(book):
    done = book.make()
    assert done.returncode == 0
    assert set(re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE)) == commands()
    promised = {"book", "serve", "lab", "test", "check", "bench", "gpu", "clean", "help", "lock", "setup"}
    assert promised <= commands()


TEXTS = [
    "README.md",
    "CONTRIBUTING.md",
    "book/how-to-run.md",
    "Makefile",
    ".ci/run",
    ".github/workflows/book.yml",
]


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_text_names_exists(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^ *|type: |run: )make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= commands()


def test_every_command_is_phony(book):
    """A folder called book or a file called test must not keep a command from running."""
    listed = re.search(r"^\.PHONY: (.*)$", (book.root / "Makefile").read_text(), re.MULTILINE)
    assert listed
    assert commands() <= set(listed[1].split())


def test_book_builds_with_warnings_as_errors_and_says_where_it_is(ready_book):
    ready_book.root.joinpath("book").mkdir()
    # The stand-in hands `-c` to a real Python, which here finds this in place of Jupyter Book.
    package = ready_book.root / "jupyter_book" / "cli"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        folder.joinpath("__init__.py").touch()
    package.joinpath("main.py").write_text(
        "import sys\ndef main(prog_name): print(prog_name, *sys.argv[1:])\n"
    )
    done = ready_book.make("book", PYTHONPATH=str(ready_book.root))
    assert "build . -W -n --keep-going" in done.stdout, done.stderr
    assert done.stdout.endswith(
        f"open {ready_book.root}/_build/html/index.html in a browser, or type: make serve\n"
    )


def test_test_runs_the_unit_tests_then_the_chapters(ready_book):
    chapters = ready_book.root / "chapters"
    chapters.mkdir()
    chapters.joinpath("01_tokenization.ipynb").touch()
    assert ready_book.make("test").returncode == 0
    assert ready_book.calls == ["[pytest][tests]", "[pytest][--nbval-lax][--nbval-current-env][chapters]"]


def test_test_passes_its_arguments_on_and_does_without_chapters(ready_book):
    done = ready_book.make("test", 'ARGS=-m "not (site or lab or gpu)"')
    assert done.returncode == 0
    assert ready_book.calls == [f"[pytest][tests][-m][{WITHOUT_BROWSER}]"]
    assert done.stdout.endswith("There is no chapter in chapters/.\n")


def test_check_looks_at_style_format_notebooks_types_and_unit_tests(ready_book):
    assert ready_book.make("check").returncode == 0
    assert ready_book.calls == [
        "[ruff][check][--quiet][.]",
        "[ruff][format][--check][--quiet][.]",
        "[tools/normalise_notebooks.py --check]",
        "[mypy][--no-error-summary]",
        f"[pytest][tests][-m][{WITHOUT_BROWSER}]",
    ]


def test_site_test_asks_for_the_built_site_and_then_tests_it(ready_book):
    assert ready_book.refusal("site-test") == "The site is not built: type make book first."
    html = ready_book.root / "_build" / "html"
    html.mkdir(parents=True)
    html.joinpath("index.html").touch()
    assert ready_book.make("site-test").returncode == 0
    assert ready_book.calls == ["[pytest][tests][-m][site or lab]"]


def test_bench_runs_every_module_that_can_be_run(ready_book):
    benchmarks = ready_book.root / "benchmarks"
    benchmarks.mkdir()
    benchmarks.joinpath("tokenizers.py").write_text('if __name__ == "__main__":\n    main()\n')
    benchmarks.joinpath("attention.py").write_text('if __name__ == "__main__":\n    main()\n')
    benchmarks.joinpath("timing.py").write_text("def median(): ...\n")
    assert ready_book.make("bench", "ARGS=--json out.json").returncode == 0
    assert ready_book.calls == [
        "[benchmarks.attention][--json][out.json]",
        "[benchmarks.tokenizers][--json][out.json]",
    ]


def test_serve_refuses_a_port_that_is_taken(ready_book):
    html = ready_book.root / "_build" / "html"
    html.mkdir(parents=True)
    html.joinpath("index.html").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} cannot be used here" in ready_book.refusal("serve", f"PORT={port}")
    assert ready_book.calls == []


def test_clean_removes_what_was_made_and_keeps_the_environment(ready_book):
    cache = ready_book.root / "llmlib" / "__pycache__"
    for folder in (cache, ready_book.root / ".mypy_cache", ready_book.root / ".venv" / "__pycache__"):
        folder.mkdir(parents=True)
        folder.joinpath("file").touch()
    source = cache.parent / "__init__.py"
    source.touch()
    assert ready_book.make("clean").returncode == 0
    assert not cache.exists()
    assert not (ready_book.root / "_build").exists()
    assert source.exists()
    assert (ready_book.root / ".venv" / "__pycache__" / "file").exists()
    assert ready_book.make("distclean").returncode == 0
    assert not (ready_book.root / ".venv").exists()
