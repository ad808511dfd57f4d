"""Byte-level BPE as it stands in a ``tokenizer.json`` (Chapter 1)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmlib.tokenizers.byte_level import from_symbols, to_symbols
from llmlib.tokenizers.special_tokens import SpecialTokens
from llmlib.tokenizers.tokenizer_json import added_tokens

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}

# The values that mean what this tokenizer does; the first of a model's option is the one that is written.
_PARTS: dict[str, list[Any]] = {
    "normalizer": [None],
    "pre_tokenizer": ["ByteLevel"],
    "post_processor": ["ByteLevel", None],
    "decoder": ["ByteLevel", None],
}
_MODEL_OPTIONS: dict[str, list[Any]] = {
    "dropout": [None, 0],
    "continuing_subword_prefix": [None, ""],
    "end_of_word_suffix": [None, ""],
    "byte_fallback": [False, None],
    "ignore_merges": [False, None],
}


def to_document(
    vocab: Sequence[bytes],
    merges: Iterable[tuple[int, int]],
    special: SpecialTokens,
    *,
    add_prefix_space: bool,
    use_regex: bool,
) -> dict[str, Any]:
    """The JSON object of a tokenizer, as Hugging Face's ``tokenizers`` writes it."""
    names = [to_symbols(token) for token in vocab]
    for name, token_id in special.ids.items():
        names[token_id] = name
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(special),
        "normalizer": None,
        "pre_tokenizer": {**_BYTE_LEVEL, "add_prefix_space": add_prefix_space, "use_regex": use_regex},
        "post_processor": None,
        "decoder": _BYTE_LEVEL,
        "model": {
            "type": "BPE",
            "unk_token": None,
            "fuse_unk": False,
            **{option: values[0] for option, values in _MODEL_OPTIONS.items()},
            "vocab": {name: token_id for token_id, name in enumerate(names)},
            "merges": [[names[left], names[right]] for left, right in merges],
        },
    }


def from_document(document: Mapping[str, Any], special: SpecialTokens) -> dict[str, Any]:
    """The parts of a tokenizer: the reverse of :func:`to_document`.

    Args:
        document: the JSON object.
        special: its special tokens.

    Returns:
        The arguments of ``BPETokenizer``.

    Raises:
        ValueError: the document is damaged, or has an option that is not supported.
    """
    _check_options(document)
    model, pre_tokenizer = document["model"], document["pre_tokenizer"]
    try:
        ids = {**model["vocab"], **special.ids}
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
        parts = {
            "merges": [(ids[left], ids[right]) for left, right in merges],
            "special_tokens": special.ids,
            "add_prefix_space": bool(pre_tokenizer["add_prefix_space"]),
            # Files of older releases do not have this option.
            "use_regex": bool(pre_tokenizer.get("use_regex", True)),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"damaged vocabulary, merges or pre_tokenizer ({error!r})") from None
    if moved := [
        name for name, token_id in special.ids.items() if model["vocab"].get(name, token_id) != token_id
    ]:
        raise ValueError(f"damaged: {moved} have one id in added_tokens and another in the vocabulary")
    names = {token_id: name for name, token_id in ids.items()}
    if set(names) != set(range(len(ids))) or not all(type(token_id) is int for token_id in names):
        raise ValueError(f"damaged: the ids of the {len(ids)} tokens are not 0 to {len(ids) - 1}, each once")
    in_order = [names[token_id] for token_id in range(len(ids))]
    return {"vocab": [name.encode() if name in special else from_symbols(name) for name in in_order], **parts}


def _check_options(document: Mapping[str, Any]) -> None:
    """Refuse what would encode otherwise than this tokenizer does."""
    entries = {part: document.get(part) for part in _PARTS}
    found = {part: entry.get("type") if isinstance(entry, dict) else entry for part, entry in entries.items()}
    found |= {option: document["model"].get(option) for option in _MODEL_OPTIONS}
    for option, supported in (_PARTS | _MODEL_OPTIONS).items():
        if found[option] not in supported:
            raise ValueError(
                f"{option} is {found[option]!r}, but only {' or '.join(map(repr, supported))} is supported: read the "
                "file with Hugging Face's tokenizers"
            )
