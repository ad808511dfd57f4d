"""Where a checkpoint is: in a folder, or in a repository of the Hugging Face hub (Chapter 3)."""

import os
import re
from pathlib import Path

_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def find(path_or_repo: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint, downloaded if it is a repository of the Hugging Face hub.

    Args:
        path_or_repo: A folder, or ``owner/name``.

    Returns:
        The folder; of a repository, the one in which ``huggingface_hub`` keeps it.

    Raises:
        FileNotFoundError: There is no such folder, and a repository is not named like this.
        ModuleNotFoundError: ``huggingface_hub`` is not installed.
        OSError: The hub cannot be reached, or has no such repository.
    """
    folder = Path(path_or_repo).expanduser()
    if folder.is_dir():
        return folder
    name = os.fspath(path_or_repo)
    if folder.exists():
        raise NotADirectoryError(f"{name} is a file: give the folder of the checkpoint, which holds it.")
    if not _REPOSITORY.fullmatch(name):
        raise FileNotFoundError(
            f"There is no folder {name!r}, and a repository of the Hugging Face hub is named 'owner/name', "
            "such as 'openai-community/gpt2'."
        )
    try:
        from huggingface_hub import snapshot_download
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"There is no folder {name!r}. To download a repository of that name, run "
            "`pip install huggingface_hub`.",
            name=error.name,
        ) from error
    try:
        return Path(snapshot_download(name, allow_patterns=["config.json", "*.safetensors", "*.index.json"]))
    except Exception as error:  # the hub's client raises many kinds, those of its HTTP library among them
        raise OSError(
            f"There is no folder {name!r}, and the Hugging Face hub did not give a repository of that name "
            f"({type(error).__name__}: {error}). Check the name and the network, or give a folder."
        ) from error
