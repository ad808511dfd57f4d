"""WordPiece as it stands in a ``tokenizer.json`` (Chapter 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmlib.tokenizers.bert_text import BertNormalizer
from llmlib.tokenizers.special_tokens import SpecialTokens
from llmlib.tokenizers.tokenizer_json import added_tokens


def to_document(
    vocab: Sequence[str],
    special: SpecialTokens,
    *,
    unk_token: str,
    prefix: str,
    longest_word: int,
    normalizer: BertNormalizer,
    unused: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON object of a tokenizer, as Hugging Face's ``tokenizers`` writes it."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(special),
        "normalizer": normalizer.to_json(),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": prefix, "cleanup": True},
        **unused,
        "model": {
            "type": "WordPiece",
            "unk_token": unk_token,
            "continuing_subword_prefix": prefix,
            "max_input_chars_per_word": longest_word,
            "vocab": {piece: token_id for token_id, piece in enumerate(vocab)},
        },
    }


def from_document(document: Mapping[str, Any], special: SpecialTokens) -> dict[str, Any]:
    """The parts of a tokenizer: the reverse of :func:`to_document`.

    Args:
        document: the JSON object.
        special: its special tokens.

    Returns:
        The arguments of ``WordPieceTokenizer``.

    Raises:
        ValueError: the document is damaged, or has an option that is not supported.
    """
    if document.get("pre_tokenizer") != {"type": "BertPreTokenizer"}:
        raise ValueError(
            f"pre_tokenizer {document.get('pre_tokenizer')!r:.200} is not supported with WordPiece, only "
            "BertPreTokenizer: read the file with Hugging Face's tokenizers"
        )
    match document["model"]:
        case {
            "vocab": dict(ids),
            "unk_token": str(unk_token),
            "continuing_subword_prefix": str(prefix),
            "max_input_chars_per_word": int(longest_word),
        }:
            return {
                "vocab": _by_id({**ids, **special.ids}),
                "special_tokens": special.ids,
                "unk_token": unk_token,
                "prefix": prefix,
                "longest_word": longest_word,
                "normalizer": BertNormalizer.from_json(document.get("normalizer")),
                "unused": {entry: document.get(entry) for entry in ("post_processor", "decoder")},
            }
    raise ValueError("damaged: the model lacks an option, or has one of another type than expected")


def _by_id(ids: Mapping[str, int]) -> list[str]:
    pieces = {token_id: piece for piece, token_id in ids.items()}
    if set(pieces) != set(range(len(ids))) or not all(type(token_id) is int for token_id in pieces):
        raise ValueError(f"damaged: the ids of the {len(ids)} tokens are not 0 to {len(ids) - 1}, each once")
    return [pieces[token_id] for token_id in range(len(ids))]
