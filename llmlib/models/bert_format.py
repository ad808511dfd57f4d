"""The ``config.json`` and the weights of Hugging Face's ``BertForMaskedLM``, from and to ours (Chapter 10)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlib.models import checkpoints
from llmlib.models.bert_config import BertConfig
from llmlib.models.renaming import Stack, from_ours, to_ours

_FIELDS = {
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "token_types": "type_vocab_size",
    "eps": "layer_norm_eps",
    "init_std": "initializer_range",
}
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}
"""What the formats of BERT and BART call an activation, and what we do."""
# What the format can say and a Bert cannot do, with the only value that is understood.
_FIXED = {"is_decoder": False, "position_embedding_type": "absolute", "tie_word_embeddings": True}

_NAMES = {
    "tokens": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "token_types": "bert.embeddings.token_type_embeddings",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "output_bias": "cls.predictions.bias",
}
_STACKS = (
    Stack(
        "blocks",
        "bert.encoder.layer",
        {
            "attention.out": "attention.output.dense",
            "attention_norm": "attention.output.LayerNorm",
            "feed_forward.up": "intermediate.dense",
            "feed_forward.down": "output.dense",
            "feed_forward_norm": "output.LayerNorm",
        },
        {"attention.qkv": ("attention.self.query", "attention.self.key", "attention.self.value")},
    ),
)
# What a checkpoint may hold and a Bert has no use for: it fills in tokens.
_UNUSED = re.compile(r"^(bert\.)?(pooler\.|embeddings\.position_ids$)|^cls\.seq_relationship\.")
# The second names of the token table and of the output's bias.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
# What the published checkpoints, made by another library, call a norm's gain and shift.
_OLD = {"gamma": "weight", "beta": "bias"}


def from_config(config: BertConfig) -> dict[str, Any]:
    """``config.json`` of a Bert. Its dropouts are 0, since a Bert has none."""
    return {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "intermediate_size": config.hidden or 4 * config.width,
        "hidden_act": to_theirs(config.activation),
        **dict.fromkeys(("attention_probs_dropout_prob", "hidden_dropout_prob"), 0.0),
        **_FIXED,
        # The format's default is 0. A Bert is told what is padding by its mask.
        "pad_token_id": None,
    }


def to_config(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a BertConfig from a ``config.json``.

    Raises:
        ValueError: It is of another kind of model, or asks for something that a Bert does not have.
    """
    if (kind := document.get("model_type")) != "bert":
        checkpoints.refuse(folder, f"holds a model of type {kind!r}, but Bert reads 'bert'")
    for name, understood in _FIXED.items():
        if document.get(name, understood) != understood:
            checkpoints.refuse(folder, f"has {name} = {document[name]!r}, which Bert cannot do")
    fields = {ours: document[theirs] for ours, theirs in _FIELDS.items() if theirs in document}
    fields.setdefault("hidden", 3072)  # the format's default, which does not follow the width
    return fields | {"activation": to_our_activation(document.get("hidden_act", "gelu"), folder)}


def to_theirs(activation: str) -> str:
    """What the format calls an activation of ours."""
    return next(theirs for theirs, ours in ACTIVATIONS.items() if ours == activation)


def to_our_activation(activation: object, folder: Path) -> str:
    """The reverse of :func:`to_theirs`.

    Raises:
        ValueError: We have no such activation.
    """
    if activation not in ACTIVATIONS:
        checkpoints.refuse(folder, f"has the activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[str(activation)]


def from_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Bert's weights under the format's names."""
    return from_ours(weights, _NAMES, _STACKS)


def to_weights(weights: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The reverse of :func:`from_weights`; what it does not know keeps its name.

    Raises:
        ValueError: The file holds an output that differs from the token table.
    """
    named = {}
    for name, weight in weights.items():
        layer, _, kind = name.rpartition(".")
        if not _UNUSED.search(name):
            named[f"{layer}.{_OLD[kind]}" if kind in _OLD else name] = weight
    return to_ours(untie(named, _TIED, folder), _NAMES, _STACKS)


def untie(weights: dict[str, Tensor], tied: Mapping[str, str], folder: Path) -> dict[str, Tensor]:
    """Without the second names of tensors.

    Args:
        weights: The tensors of a file.
        tied: Second names, and those of the same tensors that stay.
        folder: Where they come from, for the error.

    Raises:
        ValueError: Two names of one tensor hold different numbers.
    """
    for second, first in tied.items():
        if second in weights and first in weights and not torch.equal(weights[second], weights[first]):
            checkpoints.refuse(folder, f"ties its tables, but {second} differs from {first}")
    return {name: weight for name, weight in weights.items() if not (name in tied and tied[name] in weights)}
