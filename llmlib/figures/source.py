"""The real, current source of the package, shown in a chapter."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import llmlib

_ROOT = Path(llmlib.__file__).parent


@dataclass(frozen=True)
class Source:
    """Source code with its origin, which a notebook displays when it is the last expression of a cell.

    Attributes:
        name: qualified name of the object.
        file: path of its file, from the folder that holds the package.
        lines: first and last line in that file.
        code: the text.
    """

    name: str
    file: str
    lines: tuple[int, int]
    code: str

    def markdown(self) -> str:
        """A caption that links to the API page, and the code as a Markdown block."""
        page = self.name.split(".")[1] if "." in self.name else "index"
        caption = f"`{self.name}` · {self._place()} · [API](../book/api/{page}.md)"
        # A fence must be longer than any run of backticks in the code.
        fence = "```"
        while fence in self.code:
            fence += "`"
        return f"{caption}\n\n{fence}python\n{self.code}\n{fence}\n"

    def _place(self) -> str:
        return f"{self.file}, lines {self.lines[0]}–{self.lines[1]}"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {
            "text/markdown": self.markdown(),
            "text/plain": f"# {self.name} · {self._place()}\n{self.code}",
        }


def show(obj: Any, *, docstring: bool = True) -> Source:
    """Show the source of a part of this package, as it is now.

    Args:
        obj: a class, function, method, property or module of ``llmlib``.
        docstring: False leaves the docstrings out, where the chapter's text says the same.

    Returns:
        The source; as the last expression of a cell it is displayed, with a link to the API page.

    Raises:
        TypeError: the object has no Python source, or is not part of ``llmlib``.
    """
    target: Any = inspect.unwrap(obj.fget or obj if isinstance(obj, property) else obj)  # type: ignore[arg-type]
    module = target if isinstance(target, ModuleType) else inspect.getmodule(target)
    if module is None or module.__name__.split(".")[0] != llmlib.__name__:
        raise TypeError(
            f"show() is for the classes, functions and modules of llmlib, not for {obj!r:.80}: "
            "display other code with inspect.getsource"
        )
    try:
        lines, first = inspect.getsourcelines(target)
        file = Path(inspect.getfile(target)).relative_to(_ROOT.parent)
    except (OSError, TypeError, ValueError):
        raise TypeError(
            f"{obj!r:.80} has no Python source: pass the class or function that made it"
        ) from None
    code = textwrap.dedent("".join(lines)).rstrip()
    name = module.__name__ if target is module else f"{module.__name__}.{target.__qualname__}"
    return Source(
        name=name,
        file=file.as_posix(),
        lines=(max(first, 1), max(first, 1) + len(lines) - 1),
        code=code if docstring else _without_docstrings(code),
    )


def _without_docstrings(code: str) -> str:
    lines = code.split("\n")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    owners = [
        node for node in ast.walk(ast.parse(code)) if isinstance(node, documented) and ast.get_docstring(node)
    ]
    # From the last to the first, so that the line numbers of those to come stay true.
    for owner in sorted(owners, key=lambda owner: owner.body[0].lineno, reverse=True):
        text = owner.body[0]
        end = text.end_lineno or text.lineno
        if len(owner.body) == 1:
            lines[text.lineno - 1 : end] = [" " * text.col_offset + "..."]
            continue
        while not lines[end].strip():  # the blank line that set the docstring off
            end += 1
        del lines[text.lineno - 1 : end]
    return "\n".join(lines)
