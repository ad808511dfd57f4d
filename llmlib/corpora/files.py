"""Text of your own: a file, or a folder of files."""

import re
import warnings
from pathlib import Path

from llmlib.corpora.corpus import VALIDATION_SHARE

END_OF_TEXT = "<|endoftext|>"


def read(path: Path, pattern: str = "**/*") -> list[str]:
    """Read the documents of a file or a folder.

    In a folder each file is one document, and files that are not UTF-8 text are left out with a warning.
    A single file is cut into documents at the separator ``<|endoftext|>``, or else at the paragraph (or the
    line) that ends nearest to 95 % of it, so that its end is held out.

    Args:
        path: The file or folder.
        pattern: Which files of the folder, such as ``"**/*.md"``. Hidden files are never read.

    Returns:
        The documents, for a folder in the order of the names of its files.

    Raises:
        FileNotFoundError: There is nothing at ``path``.
        ValueError: The file is not UTF-8 text, or the folder has no file of text.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no file or folder at {path}.")
    if path.is_dir():
        return _read_folder(path, pattern)
    text = _read_text(path)
    if text is None:
        raise ValueError(f"{path} is not UTF-8 text. Save it as UTF-8, or give another file.")
    documents = [document for document in text.split(END_OF_TEXT) if document.strip()]
    return _cut(documents[0]) if len(documents) == 1 else documents


def _read_folder(folder: Path, pattern: str) -> list[str]:
    found = (path.relative_to(folder) for path in folder.glob(pattern) if path.is_file())
    names = sorted(found, key=lambda name: name.parts)  # as strings, so alike on every system
    files = [folder / name for name in names if not any(part.startswith(".") for part in name.parts)]
    texts = {file: _read_text(file) for file in files}
    refused = [file for file, text in texts.items() if text is None]
    documents = [text for text in texts.values() if text is not None and text.strip()]
    if not documents:
        raise ValueError(
            f"{folder} has no file of text: {len(files)} files match {pattern!r}, "
            f"{len(refused)} of them are not UTF-8 text and the rest are empty."
        )
    if refused:
        warnings.warn(
            f"{len(refused)} of the {len(files)} files in {folder} are not UTF-8 text and were left out, "
            f"the first of them {refused[0].name}. Choose files with pattern=, such as pattern='**/*.txt'.",
            stacklevel=4,
        )
    return documents


def _read_text(file: Path) -> str | None:
    """The text of a file, its lines ended alike on every system, or None if it is not UTF-8 text."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text  # a NUL byte is UTF-8, but never text


def _cut(text: str) -> list[str]:
    """Cut one text in two at the break that is nearest to 95 % of it; a text without a break stays whole."""
    text = text.strip()
    for break_ in (r"\n\s*\n", r"\n"):
        ends = [match.end() for match in re.finditer(break_, text)]
        if ends:
            end = min(ends, key=lambda end: abs(end - (1 - VALIDATION_SHARE) * len(text)))
            return [text[:end], text[end:]]
    return [text]
