"""The ``config.json`` and the weights of Hugging Face's ``LlamaForCausalLM``, from and to ours (Chapter 4).

RoPE's settings stand in two places. Up to version 4, ``transformers`` had ``rope_theta`` and ``rope_scaling``; since
version 5 it has ``rope_parameters``. Both are read and both are written: a reader of one kind would otherwise take the
default base, without a word.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmlib.layers import ROPE_SCALINGS, RopeScaling
from llmlib.models import checkpoints
from llmlib.models.llama_config import LlamaConfig

_FIELDS = {
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "hidden": "intermediate_size",
    "tied": "tie_word_embeddings",
    "attention_bias": "attention_bias",
    "mlp_bias": "mlp_bias",
    "eps": "rms_norm_eps",
    "init_std": "initializer_range",
}
# Without these there is no shape. For all others the format has a default, which is that of LlamaConfig.
_NEEDED = ("vocab_size", "width", "layers", "heads", "hidden")
# What the format can say and a Llama cannot do, with the only value that is understood.
_FIXED = {"hidden_act": "silu", "partial_rotary_factor": 1.0, "quantization_config": None}

_ROPE_FIELDS = {"original_context": "original_max_position_embeddings"}
_ROPE_IGNORED = {"type", "rope_type", "rope_theta", "finetuned"}
_DEFAULT_BASE = 10_000.0

_NAMES = {
    "tokens": "model.embed_tokens",
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.out": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
    "final_norm": "model.norm",
    "unembedding": "lm_head",
}
_OUR_NAMES = {theirs: ours for ours, theirs in _NAMES.items()}
# The frequencies of RoPE, which old checkpoints carry in each layer.
_BUFFER = re.compile(r"rotary_emb\.inv_freq$")


def from_config(config: LlamaConfig, dtype: torch.dtype) -> dict[str, Any]:
    """``config.json`` of a Llama whose weights have this dtype."""
    scaling = None if config.rope_scaling is None else _from_scaling(config.rope_scaling)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()},
        "hidden_act": "silu",
        "attention_dropout": 0.0,
        "rope_theta": config.rope_base,
        "rope_scaling": scaling,
        "rope_parameters": {"rope_theta": config.rope_base, **(scaling or {"rope_type": "default"})},
        # The format's defaults are 1 and 2, which mean something in LLaMA's own vocabulary only.
        **dict.fromkeys(("bos_token_id", "eos_token_id")),
        "dtype": str(dtype).removeprefix("torch."),
    }


def to_config(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of a LlamaConfig from a ``config.json``.

    Raises:
        ValueError: It is of another kind of model, lacks a field, contradicts itself, or asks for something that a
            Llama does not have.
    """
    file = folder / checkpoints.CONFIG
    if (kind := document.get("model_type")) != "llama":
        checkpoints.refuse(file, f"describes a model of type {kind!r}, but Llama reads 'llama'")
    if missing := [_FIELDS[name] for name in _NEEDED if document.get(_FIELDS[name]) is None]:
        checkpoints.refuse(file, f"lacks {', '.join(missing)}, without which the model has no shape")
    for name, understood in _FIXED.items():
        if document.get(name, understood) != understood:
            checkpoints.refuse(file, f"has {name} = {document[name]!r}, but Llama knows {understood!r} only")
    fields = {ours: document[theirs] for ours, theirs in _FIELDS.items() if theirs in document}
    context = document.get(_FIELDS["context"], LlamaConfig.context)
    try:
        base, scaling = _to_rope(document, context)
    except (TypeError, ValueError) as error:
        checkpoints.refuse(file, f"does not describe a Llama: {str(error).removesuffix('.')}")
    return fields | {"rope_base": base, "rope_scaling": scaling}


def from_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A Llama's weights under the format's names.

    Raises:
        ValueError: The model is not as it was built: it holds weights for which the format has no name.
    """
    if added := [name for name in weights if stored_name(name) == name]:
        raise ValueError(
            f"The format of LlamaForCausalLM has no place for {added[0]!r}. Where LoRA layers were put in, merge them "
            "first (llmlib.adaptation.merge)."
        )
    return {stored_name(name): weight for name, weight in weights.items()}


def to_weights(weights: Mapping[str, Tensor], config: LlamaConfig, folder: Path) -> dict[str, Tensor]:
    """The reverse of :func:`from_weights`; what it does not know keeps its name.

    Raises:
        ValueError: The weights are tied by the configuration, but the file holds others for the output.
    """
    ours = {}
    for name, weight in weights.items():
        if _BUFFER.search(name):
            continue
        # A checkpoint of the bare stack (LlamaModel) leaves the first part away.
        full = name if name.startswith(("model.", "lm_head.")) else f"model.{name}"
        block = re.match(r"model\.layers\.(\d+)\.", full)
        layer, _, kind = full[block.end() if block else 0 :].rpartition(".")
        known = _OUR_NAMES.get(layer)
        if known is None:
            ours[name] = weight
        else:
            ours[f"blocks.{block[1]}.{known}.{kind}" if block else f"{known}.{kind}"] = weight
    if config.tied and "unembedding.weight" in ours:
        output, tokens = ours.pop("unembedding.weight"), ours.get("tokens.weight")
        if tokens is not None and not torch.equal(output, tokens):
            checkpoints.refuse(
                folder, "says tie_word_embeddings, but lm_head.weight differs from embed_tokens.weight"
            )
    return ours


def stored_name(name: str) -> str:
    """What the format calls a weight of ours; a name that is not ours is left as it is."""
    block = re.match(r"blocks\.(\d+)\.", name)
    layer, _, kind = name[block.end() if block else 0 :].rpartition(".")
    if layer not in _NAMES:
        return name
    return f"model.layers.{block[1]}.{_NAMES[layer]}.{kind}" if block else f"{_NAMES[layer]}.{kind}"


def _from_scaling(scaling: RopeScaling) -> dict[str, Any]:
    values = {
        _ROPE_FIELDS.get(name, name): value for name, value in vars(scaling).items() if value is not None
    }
    if scaling.kind == "dynamic":
        del values[_ROPE_FIELDS["original_context"]]  # which the format takes from max_position_embeddings
    return {"rope_type": scaling.kind, **values}


def _to_rope(document: Mapping[str, Any], context: int) -> tuple[float, RopeScaling | None]:
    """Base and scaling, from either place.

    Raises:
        TypeError: A value is not of its kind.
        ValueError: The two places contradict each other, the kind is unknown, or a field is missing or unknown.
    """
    base = document.get("rope_theta")
    old = document.get("rope_scaling")
    new = document.get("rope_parameters")
    for name, value in (("rope_scaling", old), ("rope_parameters", new)):
        if value is not None and not isinstance(value, dict):
            raise TypeError(f"{name} must be an object or null, but is {value!r}")
    found = [
        (given.get("rope_theta", _DEFAULT_BASE if base is None else base), _to_scaling(given, context))
        for given in (old, new)
        if given
    ]
    if base is not None and new and new.get("rope_theta", base) != base:
        raise ValueError(f"rope_theta is {base}, but rope_parameters has {new['rope_theta']}")
    if len(found) == 2 and found[0] != found[1]:
        raise ValueError(f"rope_scaling {old} and rope_parameters {new} contradict each other")
    return found[0] if found else (_DEFAULT_BASE if base is None else base, None)


def _to_scaling(given: Mapping[str, Any], context: int) -> RopeScaling | None:
    kind = given.get("rope_type", given.get("type", "default"))
    if kind not in ROPE_SCALINGS:
        raise ValueError(
            f"the kind of RoPE is {kind!r}, but Llama knows {', '.join(map(repr, ROPE_SCALINGS))}"
        )
    if kind == "default":
        return None
    scaling = ROPE_SCALINGS[kind]
    known = {_ROPE_FIELDS.get(name, name): name for name in scaling.__dataclass_fields__}
    values = {name: value for name, value in given.items() if name not in _ROPE_IGNORED and value is not None}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"RoPE of the kind {kind!r} has no {', '.join(unknown)}; it has {', '.join(known)}")
    if "original_context" in scaling.__dataclass_fields__:
        values.setdefault(_ROPE_FIELDS["original_context"], context)
    if "factor" not in values:
        raise ValueError(f"RoPE of the kind {kind!r} needs a factor")
    return scaling(**{known[name]: value for name, value in values.items()})
