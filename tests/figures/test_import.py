"""The room opens everywhere: what needs a library that is missing says so when it is used."""

import subprocess
import sys

import pytest

import llmlib.figures

BLOCK = """
import sys
for name in ("anywidget", "ipywidgets", "matplotlib", "IPython", "traitlets"):
    sys.modules[name] = None  # as if it were not installed
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)


def test_importing_needs_neither_anywidget_nor_matplotlib():
    result = run("import llmlib.figures as f; print(f.show(f).file, dir(f))")
    assert result.returncode == 0, result.stderr
    assert "llmlib/figures/__init__.py" in result.stdout
    assert "TokenizerPlayground" in result.stdout


@pytest.mark.parametrize(("name", "library"), [("LiveFigure", "anywidget"), ("themed", "matplotlib")])
def test_a_missing_library_is_named_with_the_command_that_installs_it(name, library):
    result = run(f"from llmlib.figures import {name}")
    assert f"llmlib.figures.{name} needs {library}" in result.stderr
    assert "pip install anywidget matplotlib" in result.stderr


@pytest.mark.parametrize("name", llmlib.figures.__all__)
def test_every_public_name_can_be_loaded_again_and_again(name):
    first = getattr(llmlib.figures, name)
    assert callable(first)
    assert getattr(llmlib.figures, name) is first


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_figure"):
        llmlib.figures.no_such_figure  # noqa: B018
