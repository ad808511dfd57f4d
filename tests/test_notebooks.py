"""The chapters are in normal form and have what a chapter must have; nbval runs them."""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "normalise_notebooks.py"
CHAPTERS = sorted((ROOT / "chapters").glob("*.ipynb"))
LONGEST_CELL = 15  # lines, blank ones not counted

INSTALLS = re.compile(r"\b(pip3?|conda|mamba|uv)\s+(add|install)\b")
PATHS = re.compile(
    r"(?<![\w./])/(home|root|tmp|Users|usr|var|opt|mnt|work|content)/|\b[A-Z]:\\+(Users|Windows|Program)"
)
EXERCISE = re.compile(r"\{exercise(?:-start)?\}[^\n]*\n(?::[^\n]*\n)*?:label:\s*(\S+)")
SOLUTION = re.compile(r"\{solution(?:-start)?\}[ \t]+(\S+)")

pytestmark = pytest.mark.filterwarnings("error")


def load_tool():
    pytest.importorskip("nbformat", reason="run `make setup`")
    spec = importlib.util.spec_from_file_location("normalise_notebooks", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def cells(text: str, kind: str) -> list[str]:
    """The sources of all cells of a kind in a notebook."""
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == kind]


def calls(tree: ast.AST) -> Iterator[str]:
    """The names of the functions that are called by their bare name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


class TestChapter:
    @pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
    def text(self, request) -> str:
        return request.param.read_text(encoding="utf-8")

    @pytest.fixture
    def code(self, text) -> list[str]:
        return cells(text, "code")

    @pytest.fixture
    def prose(self, text) -> str:
        return "\n\n".join(cells(text, "markdown"))

    def test_it_is_in_normal_form(self, text):
        assert load_tool().normalise(text) == text, "type make format"

    def test_its_code_cells_are_short(self, code):
        long = [cell for cell in code if sum(bool(line.strip()) for line in cell.splitlines()) > LONGEST_CELL]
        assert not long, f"more than {LONGEST_CELL} lines: the code belongs into llmlib"

    def test_it_installs_nothing_and_knows_no_machine(self, text, code, prose):
        assert not INSTALLS.search("\n".join(code))
        assert not PATHS.search("\n".join([*code, prose]))

    def test_it_makes_a_claim(self, code):
        assert "claim" in calls(ast.parse("\n\n".join(code)))

    def test_it_has_a_live_figure(self, code):
        pytest.importorskip("anywidget", reason="run `make setup`")
        from llmlib import figures

        kinds = [name for name in figures.__all__ if isinstance(getattr(figures, name), type)]
        live = {name for name in kinds if issubclass(getattr(figures, name), figures.LiveFigure)}
        assert (live | {"frames"}) & set(calls(ast.parse("\n\n".join(code)))), "a chapter has a knob to turn"

    def test_it_has_four_to_six_exercises_each_with_a_check_and_a_solution(self, code, prose):
        exercises, solutions = EXERCISE.findall(prose), SOLUTION.findall(prose)
        assert 4 <= len(exercises) <= 6
        assert len(set(exercises)) == len(exercises)
        assert sorted(solutions) == sorted(exercises)
        unanswered = [cell for cell in code if re.search(r"^answer = \.\.\.", cell, re.MULTILINE)]
        assert len(unanswered) == len(exercises)
        assert all("check" in calls(ast.parse(cell)) for cell in unanswered)


def test_no_function_is_pasted_from_chapter_to_chapter():
    found: dict[str, str] = {}
    for chapter in CHAPTERS:
        tree = ast.parse("\n\n".join(cells(chapter.read_text(encoding="utf-8"), "code")))
        functions = [
            node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        for function in functions:
            other = found.setdefault(ast.dump(function), chapter.name)
            assert other == chapter.name, (
                f"{function.name}() of {chapter.name} is in {other} too: llmlib is its place"
            )


class TestRules:
    """What the patterns above find, so that they cannot pass by finding nothing."""

    def test_labels_of_exercises_and_solutions(self):
        fenced = (
            "```{exercise} Title\n:class: x\n:label: ex-a\n\nText\n```\n```{solution} ex-a\n:class: y\n```"
        )
        gated = (
            ":::{exercise-start}\n:label: ex-b\n:::\n:::{exercise-end}\n:::\n:::{solution-start} ex-b\n:::"
        )
        assert (
            EXERCISE.findall(f"{fenced}\n{gated}")
            == SOLUTION.findall(f"{fenced}\n{gated}")
            == ["ex-a", "ex-b"]
        )

    @pytest.mark.parametrize("line", ["!pip install x", "%pip install -q x", "%conda install x", "uv add x"])
    def test_installations(self, line):
        assert INSTALLS.search(line)

    @pytest.mark.parametrize("path", ["'/home/me/x'", 'open("/tmp/x")', r"C:\Users\me", "/Users/me/x"])
    def test_paths_of_a_machine(self, path):
        assert PATHS.search(path)

    @pytest.mark.parametrize(
        "path", ["chapters/home/x", "https://a.org/home/", "../usr/x", r"f: A:\to B", "and/or"]
    )
    def test_what_is_no_path_of_a_machine(self, path):
        assert not PATHS.search(path)


def notebook(*cells: dict[str, object], **changes: object) -> str:
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells)} | changes)


def code_cell(source: str, **changes: object) -> dict[str, object]:
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
    return cell | changes


class TestTool:
    @pytest.fixture
    def normalised(self):
        """The normal form of a notebook, as data; it is checked to be its own normal form."""
        tool = load_tool()

        def normalised(text: str) -> dict[str, object]:
            normal = tool.normalise(text)
            assert tool.normalise(normal) == normal
            return json.loads(normal)

        return normalised

    def test_outputs_counts_and_foreign_metadata_go(self, normalised):
        output = {"output_type": "stream", "name": "stdout", "text": "1"}
        cell = code_cell(
            "print(1)\n\n",
            id="kept",
            outputs=[output],
            execution_count=7,
            metadata={
                "tags": ["hide-input"],
                "collapsed": True,
                "jupyter": {"source_hidden": True},
                "mystnb": {},
            },
        )
        markdown = {
            "cell_type": "markdown",
            "id": "text",
            "source": ["# Title\n", "Text"],
            "metadata": {"a": 1},
        }
        normal = normalised(notebook(cell, markdown, code_cell("\n", id="empty"), metadata={"widgets": {}}))
        assert normal["cells"] == [
            {
                "cell_type": "code",
                "id": "kept",
                "source": ["print(1)"],
                "outputs": [],
                "execution_count": None,
                "metadata": {"tags": ["hide-input"], "jupyter": {"source_hidden": True}},
            },
            {"cell_type": "markdown", "id": "text", "source": ["# Title\n", "Text"], "metadata": {}},
        ]
        assert normal["metadata"]["kernelspec"]["name"] == "python3"
        assert normal["metadata"].keys() == {"kernelspec", "language_info"}
        assert (normal["nbformat"], normal["nbformat_minor"]) == (4, 5)

    def test_cells_without_an_id_of_their_own_get_one_that_is_always_the_same(self, normalised):
        twins = [code_cell("x = 1"), code_cell("x = 1"), code_cell("y", id="y"), code_cell("z", id="y")]
        text = notebook(*twins, code_cell("v", id="not an id"), nbformat_minor=4)
        ids = [cell["id"] for cell in normalised(text)["cells"]]
        assert len(set(ids)) == 5
        assert ids[2] == "y"
        assert ids == [cell["id"] for cell in normalised(text)["cells"]]

    @pytest.mark.parametrize("text", ["", "{", "[]", notebook(nbformat=3)])
    def test_what_is_no_notebook_is_refused(self, text):
        with pytest.raises(ValueError, match=r"Expecting|not a notebook of format 4"):
            load_tool().normalise(text)

    def test_the_command(self, tmp_path, capsys):
        tool = load_tool()
        file, broken = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
        file.write_text(notebook(code_cell("é = 1", execution_count=3)), encoding="utf-8")
        before = file.read_bytes()
        assert tool.main(["--check", str(file)]) == 1
        assert capsys.readouterr().err == f"{file} is not in normal form: type make format\n"
        assert file.read_bytes() == before
        assert tool.main([str(file)]) == 0
        assert capsys.readouterr().out == f"{file} was brought to normal form\n"
        assert file.read_text(encoding="utf-8") == tool.normalise(before.decode())
        assert tool.main(["--check", str(file)]) == 0
        broken.write_text("{")
        assert tool.main([str(broken), str(file)]) == 1
        assert capsys.readouterr().err.startswith(f"{broken} cannot be read: Expecting")
        assert sorted(tmp_path.iterdir()) == [file, broken]
