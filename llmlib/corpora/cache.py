"""Collected text, kept on the disk so that it is collected once."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

FORMAT = 1  # raise it when the same sources would give other text: old files are then left alone


def folder() -> Path:
    """The folder of the cache: ``$LLMLIB_CACHE``, or ``~/.cache/llmlib``."""
    chosen = os.environ.get("LLMLIB_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "llmlib"


def cached(name: str, versions: Mapping[str, str], collect: Callable[[], list[str]]) -> list[str]:
    """The documents from the cache, or else from ``collect``, whose answer is then kept.

    Processes that start together collect once: the first one holds a lock, the others wait and read. A file
    that is damaged is collected again. A folder that cannot be written costs a warning, never the text.

    Args:
        name: The first part of the file's name.
        versions: All that the text depends on, such as the version of Python. Other versions, other file.
        collect: Makes the documents.

    Returns:
        The documents.
    """
    key = hashlib.sha256(json.dumps([FORMAT, sorted(versions.items())]).encode()).hexdigest()
    path = folder() / f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{key[:12]}.json"
    documents = _read(path)
    if documents is not None:
        return documents
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{path}.lock").acquire()
    except OSError as error:
        documents = collect()
        _warn(path, error)
        return documents
    with lock:
        documents = _read(path)  # another process may have written it while this one waited
        if documents is None:
            documents = collect()
            try:
                _write(path, documents)
            except OSError as error:
                _warn(path, error)
    return documents


def _read(path: Path) -> list[str] | None:
    """The documents in ``path``; None if there is no such file or it is not as it was written."""
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if checksum.decode("ascii", "replace") != hashlib.sha256(content).hexdigest():
        return None
    documents: list[str] = json.loads(content)
    return documents


def _write(path: Path, documents: list[str]) -> None:
    """Write the documents and their checksum, all or nothing."""
    content = json.dumps(documents).encode()
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _warn(path: Path, error: OSError) -> None:
    warnings.warn(
        f"The collected text cannot be kept in {path.parent} ({error}), so it will be collected again "
        "next time. Set the environment variable LLMLIB_CACHE to a folder that you may write.",
        stacklevel=4,
    )
