"""Bring the chapters to normal form, so that a change of a notebook shows what its author changed.

A notebook in normal form has no outputs and no counts, an id for each cell that stays what it is, no metadata
but those that the book reads, no empty cells, and one way of being written down.

    python tools/normalise_notebooks.py            # write
    python tools/normalise_notebooks.py --check    # only say which notebooks would change
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parents[1]
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("jupyter", "mystnb", "tags")
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def normalise(text: str) -> str:
    """The normal form of a notebook.

    Args:
        text: The content of an ``.ipynb`` file in format 4.

    Returns:
        The content that the file should have. Its own normal form is the same.

    Raises:
        ValueError: The text is no notebook of format 4.
    """
    notebook = json.loads(text)
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        raise ValueError("it is not a notebook of format 4; save it again with JupyterLab")
    taken: set[str] = set()
    cells = []
    for cell in notebook.get("cells", []):
        source = cell.get("source", "")
        cell["source"] = (source if isinstance(source, str) else "".join(source)).strip("\n").rstrip()
        if not cell["source"]:
            continue
        cell["id"] = _cell_id(cell, taken)
        taken.add(cell["id"])
        metadata = cell.get("metadata", {})
        cell["metadata"] = {key: metadata[key] for key in CELL_METADATA if metadata.get(key)}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        cells.append(cell)
    normal = nbformat.from_dict({"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": cells})
    nbformat.validate(normal)
    return nbformat.writes(normal) + "\n"


def _cell_id(cell: dict[str, Any], taken: set[str]) -> str:
    """The id that the cell has, or one made from its text if it has none or another cell has the same."""
    if CELL_ID.fullmatch(str(cell.get("id", ""))) and cell["id"] not in taken:
        return cell["id"]
    number = 0
    while (made := hashlib.sha256(f"{number} {cell['source']}".encode()).hexdigest()[:8]) in taken:
        number += 1
    return made


def write(path: Path, text: str) -> None:
    """Replace the content of ``path``, all or nothing."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def main(arguments: list[str] | None = None) -> int:
    """Normalise the notebooks that are named, or every chapter.

    Returns:
        The exit status: 1 if a notebook cannot be read, or with ``--check`` would change.
    """
    parser = argparse.ArgumentParser(description="Bring notebooks to normal form.")
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: every chapter")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if something would")
    options = parser.parse_args(arguments)
    status = 0
    for path in options.notebooks or sorted((ROOT / "chapters").glob("*.ipynb")):
        try:
            text = path.read_bytes().decode("utf-8")
            normal = normalise(text)
        except (OSError, ValueError, KeyError, nbformat.ValidationError) as error:
            print(f"{path} cannot be read: {error}", file=sys.stderr)
            status = 1
            continue
        if text == normal:
            continue
        if options.check:
            print(f"{path} is not in normal form: type make format", file=sys.stderr)
            status = 1
        else:
            write(path, normal)
            print(f"{path} was brought to normal form")
    return status


if __name__ == "__main__":
    sys.exit(main())
