"""The unigram model as it stands in a ``tokenizer.json`` (Chapter 1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmlib.tokenizers.sentencepiece_text import Metaspace, SentencePieceNormalizer
from llmlib.tokenizers.special_tokens import SpecialTokens
from llmlib.tokenizers.tokenizer_json import added_tokens


def to_document(
    pieces: Sequence[tuple[str, float]],
    special: SpecialTokens,
    *,
    unk_id: int | None,
    byte_fallback: bool,
    normalizer: SentencePieceNormalizer,
    metaspace: Metaspace,
    unused: Mapping[str, Any],
) -> dict[str, Any]:
    """The JSON object of a tokenizer, as Hugging Face's ``tokenizers`` writes it."""
    decoder = metaspace.to_json()
    if byte_fallback:
        decoder = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, decoder]}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens(special),
        "normalizer": normalizer.to_json(),
        "pre_tokenizer": metaspace.to_json(),
        "post_processor": None,
        "decoder": decoder,
        **unused,
        "model": {
            "type": "Unigram",
            "unk_id": unk_id,
            "vocab": [[piece, score] for piece, score in pieces],
            "byte_fallback": byte_fallback,
        },
    }


def from_document(document: Mapping[str, Any], special: SpecialTokens) -> dict[str, Any]:
    """The parts of a tokenizer: the reverse of :func:`to_document`.

    Args:
        document: the JSON object.
        special: its special tokens.

    Returns:
        The arguments of ``UnigramTokenizer``.

    Raises:
        ValueError: the document is damaged, or has an option that is not supported.
    """
    model = document["model"]
    unk_id, byte_fallback = model.get("unk_id"), model.get("byte_fallback", False)
    if not (unk_id is None or type(unk_id) is int) or not isinstance(byte_fallback, bool):
        raise ValueError(f"damaged: unk_id is {unk_id!r} and byte_fallback {byte_fallback!r}")
    pieces = [_piece(entry) for entry in model["vocab"]]
    known = {piece for piece, _ in pieces}
    pieces += [(name, 0.0) for name in sorted(special, key=special.ids.__getitem__) if name not in known]
    return {
        "pieces": pieces,
        "special_tokens": special.ids,
        "unk_id": unk_id,
        "byte_fallback": byte_fallback,
        "normalizer": SentencePieceNormalizer.from_json(document.get("normalizer")),
        "metaspace": Metaspace.from_json(document.get("pre_tokenizer")),
        "unused": {entry: document.get(entry) for entry in ("post_processor", "decoder")},
    }


def _piece(entry: object) -> tuple[str, float]:
    match entry:
        case [str(piece), float() | int() as score]:
            return piece, float(score)
    raise ValueError(f"damaged: a piece and its score were expected in the vocabulary, not {entry!r}")
