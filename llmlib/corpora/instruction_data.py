"""Questions and answers from real documentation: what a function does, and how it is called (Chapter 12)."""

import ast
import json
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm.auto import tqdm

from llmlib.corpora import cache, embedded

_SENTENCE = re.compile(r"(.+?[.!?])(?=\s|$)", re.DOTALL)
_WORDS = range(3, 31)  # of an answer
_LONGEST_CALL = 80


@dataclass(frozen=True)
class Instruction:
    """A question about a function of the standard library, and its answer.

    Attributes:
        kind: ``"describe"`` asks what a call does, ``"call"`` which call does something.
        question: The question.
        answer: The answer: the first sentence of the docstring, or the call.
    """

    kind: Literal["describe", "call"]
    question: str
    answer: str


def instructions(documents: Iterable[str]) -> list[Instruction]:
    """Make two questions of every function whose docstring stands in some documents (Chapter 12).

    Signatures and docstrings are read from the source of the running Python, once, and kept as a corpus is. A
    paragraph stands in one document of ``python-docs`` only, so what is made of documents held out is held out, too.

    Args:
        documents: Documents of the corpus ``"python-docs"``, such as ``load().train``.

    Returns:
        The instructions, in the order of the modules' names. No answer of the kind ``"describe"`` occurs twice.

    Raises:
        TypeError: ``documents`` is one string.
        ValueError: There is no function for them.
    """
    if isinstance(documents, str):
        raise TypeError("documents must be a sequence of documents, but is one string: pass [text].")
    paragraphs = {
        _plain(paragraph) for text in documents for paragraph in embedded.PARAGRAPH_BREAK.split(text)
    }
    kept = cache.cached("python-functions", embedded.versions("python-docs"), _collect)
    found = []
    for call, paragraph, sentence in map(json.loads, kept):
        if paragraph in paragraphs:
            found.append(Instruction("describe", f"What does {call} do?", sentence))
            # Without the module, which the question cannot tell.
            short = re.sub(r"^[\w.]*\.(?=\w+\()", "", call)
            found.append(Instruction("call", f"Which call does this? {sentence}", short))
    if not found:
        raise ValueError(
            "No docstring of the standard library stands in these documents: take them from load('python-docs')."
        )
    return found


def functions(source: bytes, module: str) -> Iterator[tuple[str, str, str]]:
    """The public functions and methods of a module that say in a sentence what they do.

    Args:
        source: A Python file. It is parsed, never run.
        module: Its name.

    Yields:
        The call with its parameters, the first paragraph of the docstring, and the first sentence of that.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other people's invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    owners: list[tuple[str, ast.Module | ast.ClassDef]] = [(module, tree)]
    owners += [(f"{module}.{node.name}", node) for node in classes]
    for prefix, owner in owners:
        for node in owner.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            call = f"{prefix}.{node.name}({_parameters(node, isinstance(owner, ast.ClassDef))})"
            paragraph = _plain(embedded.PARAGRAPH_BREAK.split(ast.get_docstring(node) or "")[0])
            sentence = _SENTENCE.match(paragraph)
            private = any(part.startswith("_") for part in f"{prefix}.{node.name}".split("."))
            if private or sentence is None or len(call) > _LONGEST_CALL:
                continue
            if len(sentence[1].split()) in _WORDS and ">>>" not in sentence[1] and "->" not in sentence[1]:
                yield call, paragraph, sentence[1]


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, method: bool) -> str:
    """The parameters as one would write them, without annotations, and without the first one of a method."""
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return (
        re.sub(r"^(self|cls)\b(, /)?(, )?", "", ast.unparse(node.args)) if method else ast.unparse(node.args)
    )


def _plain(paragraph: str) -> str:
    return " ".join(paragraph.split())


def _collect() -> list[str]:
    library = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    found = []
    paths = embedded.module_files(library)
    for path in tqdm(paths, desc="Reading signatures", unit=" modules", delay=0.5, leave=False):
        parts = path.relative_to(library).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        for call, paragraph, sentence in functions(path.read_bytes(), name):
            if not {paragraph, sentence} & seen:
                seen |= {paragraph, sentence}
                found.append(json.dumps([call, paragraph, sentence]))
    return found
