"""A small LLaMA as bytes for the page, where ``llama.js`` runs it: matrices rounded, everything in one block."""

import json
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from llmlib.models.llama import Llama

LEVELS = 24
"""How many steps a row's numbers have on either side of 0: fewer pack better, and the page must stay below 8 MB."""


def pack(model: "Llama", *, context: int | None = None) -> bytes:
    """A model as ``llama.js`` reads it.

    First the length of the header in 4 bytes (little-endian, as all numbers), then the header in JSON, then the
    numbers. Vectors are float32. Of a matrix each row is rounded to whole numbers of −24 … 24, in a byte each, and a
    float32 scale, its largest number / 24: a number is off by at most half a scale. All scales of a matrix come first.

    Args:
        model: The model. Its width, its hidden width and H · D must be multiples of 8.
        context: How many tokens the page makes room for; by default the model's own context.

    Returns:
        About a byte a parameter, of which gzip leaves two thirds.

    Raises:
        ValueError: The page cannot run such a model: it has biases, widths that are no multiples of 8, or RoPE whose
            angles depend on the length.
    """
    import torch

    config = model.config
    width, hidden, heads, head_width = config.width, config.hidden or 0, config.heads, config.head_width or 0
    if config.attention_bias or config.mlp_bias:
        raise ValueError("llama.js has no biases, but this model has: take one without.")
    if width % 8 or hidden % 8 or heads * head_width % 8:
        raise ValueError(
            f"llama.js takes widths that are multiples of 8, but width = {width}, hidden = {hidden}, heads · "
            f"head_width = {heads * head_width}."
        )
    scaling = model.rotary.scaling
    if scaling.kind == "dynamic":
        raise ValueError(
            "llama.js turns each position by one angle, but dynamic RoPE changes it with the length."
        )
    frequencies = scaling.frequencies(head_width, config.rope_base, torch.arange(1))
    header = {
        "config": {
            "layers": config.layers,
            "width": width,
            "heads": heads,
            "kvHeads": config.kv_heads,
            "headWidth": head_width,
            "hidden": hidden,
            "vocabSize": config.vocab_size,
            "context": config.context if context is None else context,
            "eps": config.eps,
            "frequencies": frequencies.double().tolist(),
            "amplitude": scaling.amplitude,
        },
        "tensors": (tensors := []),
    }
    parts, at = [], 0
    for name, weight in model.state_dict().items():
        part = _numbers(weight)
        part += bytes(-len(part) % 4)
        tensors.append({"name": name, "shape": list(weight.shape), "at": at})
        parts.append(part)
        at += len(part)
    text = json.dumps(header, separators=(",", ":"))
    text += " " * (-len(text) % 4)
    return b"".join([struct.pack("<I", len(text)), text.encode(), *parts])


def rounded(model: "Llama") -> "Llama":
    """The model that the page computes with: the same, its matrices rounded as :func:`pack` rounds them.

    Args:
        model: The model, which stays as it is.
    """
    from llmlib.models.llama import Llama

    copy = Llama(replace(model.config)).to(next(model.parameters()).device)
    weights = {}
    for name, weight in model.state_dict().items():
        if weight.dim() == 2:
            whole, scale = _round(weight)
            weights[name] = whole * scale
        else:
            weights[name] = weight.float()
    copy.load_state_dict(weights)
    return copy.train(model.training)


def _numbers(weight: "Tensor") -> bytes:
    if weight.dim() == 1:
        return _bytes(weight.float())
    whole, scale = _round(weight)
    return _bytes(scale) + _bytes(whole.char())


def _round(weight: "Tensor") -> "tuple[Tensor, Tensor]":
    """Whole numbers, still in float32, and the scale of each row."""
    weight = weight.float()
    scale = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / LEVELS  # a row of zeros stays one
    return (weight / scale).round(), scale


def _bytes(tensor: "Tensor") -> bytes:
    array = tensor.cpu().contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<")).tobytes()
