"""Text to learn from: embedded, from your own files, or from the Hugging Face hub (Chapter 1).

>>> from llmlib import corpora
>>> corpus = corpora.load("python-docs")

The data sets that models learn from are made of it with :func:`truncate` and :func:`pack`.
"""

import os
from pathlib import Path

from llmlib.corpora import cache, embedded, files
from llmlib.corpora.corpus import Corpus, size_in_bytes, split

__all__ = ["Corpus", "available", "load", "size_in_bytes", "split"]


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
            - the path of a UTF-8 text file, or of a folder in which each text file is a document.
        pattern: Which files of a folder to read, such as ``"**/*.txt"``.

    Returns:
        The corpus. The same text always has the same split, and about 5 % of its bytes are held out.

    Raises:
        ValueError: The name is unknown, or there is too little text to split.
        FileNotFoundError: There is nothing at the path.
        ModuleNotFoundError: A package that the corpus needs is not installed.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise TypeError(f"load() takes a name or a path, but got {name_or_path!r}.")
    name = os.fspath(name_or_path)
    if name in embedded.DESCRIPTIONS:
        documents = cache.cached(name, embedded.versions(name), lambda: embedded.collect(name))
    elif Path(name).expanduser().exists():
        documents = files.read(Path(name).expanduser(), pattern)
    else:
        raise ValueError(f"{name!r} is no known corpus, file or folder. {_offered()}")
    return Corpus.from_documents(name, documents)


def _offered() -> str:
    """What :func:`load` takes, for its errors."""
    names = " and ".join(repr(name) for name in available())
    return (
        f"Without a network there are {names}. You may also give the path of a text file or of a folder of "
        "text files, or a data set of the Hugging Face hub as 'hf:owner/name'."
    )
