"""show() gives the real source, with its place, or says why it cannot."""

import ast
import inspect

import pytest

from llmlib.figures import palette, show, source
from llmlib.figures.source import Source


class Subject:
    """Not of llmlib."""


def parsed(code: str) -> str:
    return ast.dump(ast.parse(code))


@pytest.mark.parametrize(
    "thing", [Source, show, palette.css, palette], ids=["class", "function", "other", "module"]
)
def test_the_source_is_the_file_between_the_lines_it_names(thing):
    shown = show(thing)
    whole = (source._ROOT.parent / shown.file).read_text(encoding="utf-8").splitlines()
    first, last = shown.lines
    assert "\n".join(whole[first - 1 : last]).rstrip() == shown.code
    assert parsed(shown.code) == parsed(inspect.getsource(thing))


def test_a_method_is_shown_without_the_indentation_of_its_class():
    shown = show(Source.markdown)
    assert shown.code.startswith("def markdown(self)")
    assert shown.name == "llmlib.figures.source.Source.markdown"


def test_the_caption_names_file_and_lines_and_links_to_the_api_page():
    caption = show(palette.css).markdown().splitlines()[0]
    assert caption.startswith("`llmlib.figures.palette.css` · llmlib/figures/palette.py, lines ")
    assert caption.endswith("[API](../book/api/figures.md)")


def test_markdown_holds_the_code_in_a_python_block_and_plain_text_holds_it_too():
    bundle = show(palette.css)._repr_mimebundle_()
    code = show(palette.css).code
    assert f"\n```python\n{code}\n```\n" in bundle["text/markdown"]
    assert code in bundle["text/plain"]


def test_a_block_that_holds_backticks_has_a_longer_fence():
    shown = Source("llmlib.x.f", "llmlib/x.py", (1, 1), 'TEXT = "```"')
    assert "\n````python\n" in shown.markdown()


@pytest.mark.parametrize("thing", [Source, show, source], ids=["class", "function", "module"])
def test_docstrings_can_be_left_out_and_nothing_else_is(thing):
    with_them, without = ast.parse(show(thing).code), ast.parse(show(thing, docstring=False).code)
    documented = (ast.Module, ast.FunctionDef, ast.ClassDef)
    for node in ast.walk(with_them):
        if isinstance(node, documented) and ast.get_docstring(node):
            del node.body[0]
    assert ast.dump(with_them) == ast.dump(without)


def test_a_body_that_is_only_a_docstring_becomes_an_ellipsis():
    assert source._without_docstrings('class A:\n    """B."""') == "class A:\n    ..."


@pytest.mark.parametrize("thing", [Subject, len, 3, "text", ast.parse, None], ids=repr)
def test_what_is_not_of_llmlib_is_refused(thing):
    with pytest.raises(TypeError, match="of llmlib"):
        show(thing)


def test_an_object_without_source_is_refused():
    with pytest.raises(TypeError, match="has no Python source"):
        show(show(palette))
