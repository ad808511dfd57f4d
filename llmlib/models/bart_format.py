"""The ``config.json`` and the weights of Hugging Face's ``BartForConditionalGeneration``, and ours (Chapter 10)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlib.models import checkpoints
from llmlib.models.bart_config import BartConfig
from llmlib.models.bert_format import to_our_activation, to_theirs, untie
from llmlib.models.renaming import Stack, from_ours, to_ours

_FIELDS = {
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    "width": "d_model",
    "layers": "encoder_layers",
    "decoder_layers": "decoder_layers",
    "heads": "encoder_attention_heads",
    "hidden": "encoder_ffn_dim",
    "init_std": "init_std",
}
# The decoder is as wide as the encoder here.
_TWICE = {
    "decoder_attention_heads": "encoder_attention_heads",
    "decoder_ffn_dim": "encoder_ffn_dim",
}
# What the format can say and a Bart cannot do, with the only value that is understood.
_FIXED = {"scale_embedding": False, "tie_word_embeddings": True, "is_encoder_decoder": True}

_NAMES = {
    "tokens": "model.shared",
    "encoder_positions": "model.encoder.embed_positions",
    "encoder_norm": "model.encoder.layernorm_embedding",
    "decoder_positions": "model.decoder.embed_positions",
    "decoder_norm": "model.decoder.layernorm_embedding",
    "output_bias": "final_logits_bias",
}


def _three(layer: str) -> tuple[str, str, str]:
    return f"{layer}.q_proj", f"{layer}.k_proj", f"{layer}.v_proj"


_BLOCK = {
    "attention.out": "self_attn.out_proj",
    "attention_norm": "self_attn_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
    "feed_forward_norm": "final_layer_norm",
}
_CROSS = {"cross_attention.out": "encoder_attn.out_proj", "cross_attention_norm": "encoder_attn_layer_norm"}
_QKV = {"attention.qkv": _three("self_attn")}
_STACKS = (
    Stack("encoder", "model.encoder.layers", _BLOCK, _QKV),
    Stack(
        "decoder",
        "model.decoder.layers",
        _BLOCK | _CROSS,
        _QKV | {"cross_attention.qkv": _three("encoder_attn")},
    ),
)
# The second names of the token table.
_TIED = dict.fromkeys(
    ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
    "model.shared.weight",
)


def from_config(config: BartConfig) -> dict[str, Any]:
    """``config.json`` of a Bart. Its dropouts are 0, since a Bart has none."""
    fields = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    fields["encoder_ffn_dim"] = config.hidden or 4 * config.width
    return {
        "architectures": ["BartForConditionalGeneration"],
        "model_type": "bart",
        **fields,
        **{name: fields[same] for name, same in _TWICE.items()},
        "activation_function": to_theirs(config.activation),
        **dict.fromkeys(("attention_dropout", "activation_dropout", "dropout", "classifier_dropout"), 0.0),
        **dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), 0.0),
        **_FIXED,
        # The format's defaults are 0, 1 and 2, which mean something in BART's own vocabulary only.
        **dict.fromkeys(("bos_token_id", "pad_token_id", "eos_token_id", "forced_eos_token_id")),
        "decoder_start_token_id": None,
    }


def to_config(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a BartConfig from a ``config.json``.

    Raises:
        ValueError: It is of another kind of model, or asks for something that a Bart does not have.
    """
    if (kind := document.get("model_type")) != "bart":
        checkpoints.refuse(folder, f"holds a model of type {kind!r}, but Bart reads 'bart'")
    for name, understood in _FIXED.items():
        if document.get(name, understood) != understood:
            checkpoints.refuse(folder, f"has {name} = {document[name]!r}, which Bart cannot do")
    for name, same in _TWICE.items():
        if document.get(name) != document.get(same):
            checkpoints.refuse(
                folder, f"has {name} = {document.get(name)} and {same} = {document.get(same)}; Bart wants one"
            )
    if document.get("normalize_before") or document.get("add_final_layer_norm"):
        checkpoints.refuse(folder, "normalises before each sublayer, as mBART does, which Bart cannot do")
    # The format's defaults are those of BART large.
    large = {"vocab_size": 50_265, "context": 1024, "width": 1024, "layers": 12, "decoder_layers": 12}
    fields = large | {"heads": 16, "hidden": 4096}
    fields |= {ours: document[theirs] for ours, theirs in _FIELDS.items() if theirs in document}
    return fields | {"activation": to_our_activation(document.get("activation_function", "gelu"), folder)}


def from_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Bart's weights under the format's names."""
    theirs = from_ours(weights, _NAMES, _STACKS)
    theirs["final_logits_bias"] = theirs["final_logits_bias"][None]  # (1, V) there
    return theirs


def to_weights(weights: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The reverse of :func:`from_weights`; what it does not know keeps its name.

    Raises:
        ValueError: The file holds several token tables that differ.
    """
    # A checkpoint of the bare stacks (BartModel), as a published one is, leaves the first part away, and the bias.
    bare = not any(name.startswith("model.") for name in weights)
    named = {f"model.{name}" if bare else name: weight for name, weight in weights.items()}
    named = untie(named, _TIED, folder)
    if bare and "model.shared.weight" in named:
        named["final_logits_bias"] = torch.zeros_like(named["model.shared.weight"][:, 0])
    if "final_logits_bias" in named:
        named["final_logits_bias"] = named["final_logits_bias"].flatten()
    return to_ours(named, _NAMES, _STACKS)
