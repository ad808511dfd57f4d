"""The ``config.json`` and the weights of Hugging Face's ``GPT2LMHeadModel``, from and to ours (Chapter 3)."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlib.models import checkpoints
from llmlib.models.gpt_config import GPTConfig

_FIELDS = {
    "vocab_size": "vocab_size",
    "context": "n_positions",
    "width": "n_embd",
    "layers": "n_layer",
    "heads": "n_head",
    "hidden": "n_inner",
    "tied": "tie_word_embeddings",
    "eps": "layer_norm_epsilon",
    "init_std": "initializer_range",
}
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}
# What the format can say and a GPT cannot do, with the only value that is understood.
_FIXED = {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False}

_NAMES = {
    "tokens": "transformer.wte",
    "positions": "transformer.wpe",
    "attention_norm": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "feed_forward_norm": "ln_2",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "unembedding": "lm_head",
}
_OUR_NAMES = {theirs: ours for ours, theirs in _NAMES.items()}
# These layers hold their weights as (in, out), where nn.Linear has (out, in).
_TRANSPOSED = re.compile(r"\.(c_attn|c_proj|c_fc)\.weight$")
# The causal mask, which old checkpoints carry in each layer.
_BUFFER = re.compile(r"\.attn\.(bias|masked_bias)$")


def can_hold(config: GPTConfig) -> bool:
    """Whether GPT2LMHeadModel can be what ``config`` describes."""
    return (config.norm, config.positions, config.mask) == ("pre", "learned", "causal")


def from_config(config: GPTConfig) -> dict[str, Any]:
    """``config.json`` of a GPT. Its dropouts are 0, since a GPT has none."""
    activation = next(theirs for theirs, ours in _ACTIVATIONS.items() if ours == config.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "activation_function": activation,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
        # The format's default is 50256, which is an end only in GPT-2's own vocabulary.
        **dict.fromkeys(("bos_token_id", "eos_token_id"), 50256 if config.vocab_size == 50257 else None),
    }


def to_config(document: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a GPTConfig from a ``config.json``.

    Raises:
        ValueError: It is of another kind of model, or asks for something that a GPT does not have.
    """
    if document.get("model_type") != "gpt2":
        checkpoints.refuse(
            folder, f"holds a model of type {document.get('model_type')!r}, but GPT reads 'gpt2'"
        )
    for name, understood in _FIXED.items():
        if document.get(name, understood) != understood:
            checkpoints.refuse(folder, f"has {name} = {document[name]}, which GPT cannot do")
    activation = document.get("activation_function", "gelu_new")
    if activation not in _ACTIVATIONS:
        checkpoints.refuse(folder, f"has the activation {activation!r}; GPT has {', '.join(_ACTIVATIONS)}")
    fields = {ours: document[theirs] for ours, theirs in _FIELDS.items() if theirs in document}
    return fields | {"activation": _ACTIVATIONS[activation]}


def from_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A GPT's weights, under the format's names and in its layout."""
    renamed = {}
    for name, weight in weights.items():
        block = re.match(r"blocks\.(\d+)\.", name)
        layer, kind = name[block.end() if block else 0 :].rsplit(".", 1)
        theirs = f"transformer.h.{block[1]}.{_NAMES[layer]}" if block else _NAMES[layer]
        renamed[f"{theirs}.{kind}"] = weight
    return {name: _turn(name, weight) for name, weight in renamed.items()}


def to_weights(weights: dict[str, Tensor], config: GPTConfig, folder: Path) -> dict[str, Tensor]:
    """The reverse of :func:`from_weights`; what it does not know keeps its name.

    Raises:
        ValueError: The weights are tied by the configuration, but the file holds others for the output.
    """
    ours = {}
    for name, weight in weights.items():
        if _BUFFER.search(name):
            continue
        # A checkpoint of the bare stack (GPT2Model), as the published one is, leaves the first part away.
        full = name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"
        block = re.match(r"transformer\.h\.(\d+)\.", full)
        layer, _, kind = full[block.end() if block else 0 :].rpartition(".")
        known = _OUR_NAMES.get(layer, layer)
        ours[f"blocks.{block[1]}.{known}.{kind}" if block else f"{known}.{kind}"] = _turn(full, weight)
    if config.tied and "unembedding.weight" in ours:
        output, tokens = ours.pop("unembedding.weight"), ours.get("tokens.weight")
        if tokens is not None and not torch.equal(output, tokens):
            checkpoints.refuse(folder, "says tie_word_embeddings, but lm_head.weight differs from wte.weight")
    return ours


def _turn(name: str, weight: Tensor) -> Tensor:
    return weight.transpose(0, -1) if _TRANSPOSED.search(name) else weight
