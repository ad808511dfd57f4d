"""Text to learn from: embedded, from your own files, or from the Hugging Face hub (Chapter 1).

>>> from llmlib import corpora
>>> corpus = corpora.load("python-docs")

The data sets that models learn from are made of it with :func:`truncate` and :func:`pack`.
"""

import os
import re
from pathlib import Path

from llmlib.corpora import cache, embedded, files, hub
from llmlib.corpora.blocks import Account, pack, truncate
from llmlib.corpora.corpus import Corpus, size_in_bytes, split
from llmlib.corpora.instruction_data import Instruction, instructions

__all__ = [
    "Account",
    "Corpus",
    "Instruction",
    "available",
    "instructions",
    "load",
    "pack",
    "size_in_bytes",
    "split",
    "truncate",
]

OWNER_AND_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def available() -> dict[str, str]:
    """The corpora that need no network.

    Returns:
        The name of each, as :func:`load` takes it, with a description.
    """
    return dict(embedded.DESCRIPTIONS)


def load(name_or_path: str | os.PathLike[str] = "python-docs", *, pattern: str = "**/*") -> Corpus:
    """Load a corpus, split into training and validation text by whole documents (Chapter 1).

    Args:
        name_or_path: One of:

            - a name of :func:`available`: text that is always there, collected at the first call and kept in
              ``$LLMLIB_CACHE`` (by default ``~/.cache/llmlib``);
            - the path of a UTF-8 text file, or of a folder in which each text file is a document;
            - ``"hf:owner/name"`` or ``"hf:owner/name/configuration"``: a data set of the Hugging Face hub,
              which needs the library ``datasets`` and, the first time, a network. Each row of its column
              ``text`` is a document. The prefix may be left out if there is no such path.
        pattern: Which files of a folder to read, such as ``"**/*.txt"``.

    Returns:
        The corpus. The same text always has the same split, and about 5 % of its bytes are held out.

    Raises:
        ValueError: The name is unknown, or there is too little text to split.
        TypeError: ``name_or_path`` is neither a string nor a path.
        FileNotFoundError: There is nothing at a path that came as a :class:`pathlib.Path`.
        ConnectionError: The hub is out of reach.
        ModuleNotFoundError: A package that the corpus needs is not installed.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"load() takes a name or a path, but got {name_or_path!r}.")
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if not isinstance(name_or_path, str):
        documents = files.read(path, pattern)
    elif name in embedded.DESCRIPTIONS:
        documents = cache.cached(name, embedded.versions(name), lambda: embedded.collect(name))
    elif name.startswith("hf:"):
        documents = _from_hub(name.removeprefix("hf:"))
    elif name and path.exists():
        documents = files.read(path, pattern)
    elif OWNER_AND_NAME.fullmatch(name):
        documents = _from_hub(name, f"There is no file or folder {name!r} here. ")
    else:
        raise ValueError(f"{name!r} is no known corpus, file or folder. {_offered()}")
    return Corpus.from_documents(name, documents)


def _from_hub(name: str, prelude: str = "") -> list[str]:
    try:
        return hub.read(name)
    except (ConnectionError, ModuleNotFoundError, ValueError) as error:
        raise type(error)(f"{prelude}{error} {_offered()}") from error


def _offered() -> str:
    """What :func:`load` takes, for its errors."""
    names = " and ".join(repr(name) for name in available())
    return (
        f"Without a network there are {names}. You may also give the path of a text file or of a folder of "
        "text files, or a data set of the Hugging Face hub as 'hf:owner/name'."
    )
