"""Data sets of the Hugging Face hub, read with the library ``datasets``."""

import re

NAME = re.compile(r"([\w.-]+(?:/[\w.-]+)?)(?:/([\w.-]+))?")


def read(name: str) -> list[str]:
    """Read the column ``text`` of the training split of a data set: one document a row.

    Args:
        name: ``owner/name`` or ``owner/name/configuration``. The library ``datasets`` also takes a folder
            that is laid out like a data set (`its guide <https://huggingface.co/docs/datasets/loading>`_).

    Returns:
        The documents. A data set's other splits are left alone.

    Raises:
        ModuleNotFoundError: The library ``datasets`` is not installed.
        ConnectionError: The hub is out of reach, or HF_HUB_OFFLINE is set.
        ValueError: The name is malformed, the hub has no such data set, or it has no column of text.
    """
    match = NAME.fullmatch(name)
    if not match:
        raise ValueError(f"A data set is named as owner/name or owner/name/configuration, not as {name!r}.")
    repository, configuration = match.groups()
    try:
        import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"The data set {name!r} is read with the library datasets, which is not installed. "
            "Run `pip install datasets`."
        ) from None
    try:
        splits = datasets.load_dataset(repository, configuration)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise ValueError(
            f"There is no data set {repository!r} on the hub, or it is not open to you ({error}). "
            "Check its name; for a private one run `hf auth login`."
        ) from error
    except ConnectionError as error:
        raise ConnectionError(
            f"The data set {repository!r} cannot be loaded: the Hugging Face hub is out of reach ({error})."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"The data set {name!r} cannot be loaded: {error} (Name a configuration as 'hf:{repository}/…'.)"
        ) from error
    if "train" not in splits:
        raise ValueError(f"The data set {name!r} has no split 'train'; its splits are {list(splits)}.")
    rows = splits["train"]
    if "text" not in rows.column_names or rows.features["text"].dtype not in ("string", "large_string"):
        raise ValueError(
            f"The data set {name!r} has no column of strings that is called 'text'. "
            f"Its columns are {rows.column_names}: save the one you want as text files and give their folder."
        )
    return [text for text in rows["text"] if text]
