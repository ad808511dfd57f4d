"""What LoRA learnt as a small folder, in the format of Hugging Face's PEFT (Chapter 12).

``adapter_config.json`` says rank, α and which layers; ``adapter_model.safetensors`` holds A and B of each. The weights
of a Llama go by the names of Hugging Face's ``LlamaForCausalLM``, so that PEFT loads the folder onto one; those of
other models go by their own names.
"""

import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmlib.adaptation.lora import LoRALinear, _some_layers, add_lora, lora_layers
from llmlib.models import Llama, llama_format
from llmlib.models.checkpoints import read_json, read_safetensors, refuse
from llmlib.training.files import write_atomically

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
# What PEFT's LoRA can do and ours cannot, with the values that mean that it is not used.
_UNUSED: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "layer_replication": (None, []),
    "target_parameters": (None, []),
    "trainable_token_indices": (None, []),
}


def save_lora(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the LoRA layers of a model to a folder that PEFT reads, too (Chapter 12).

    Args:
        model: A model with LoRA layers.
        path: The folder, made if need be. Files are replaced only when the new ones are complete.

    Raises:
        OSError: The folder cannot be written.
        ValueError: The model has no LoRA layers, or they differ in rank, α or dropout.
    """
    from safetensors.torch import save

    layers = _some_layers(model)
    settings = {(layer.rank, layer.alpha, layer.dropout.p) for layer in layers.values()}
    if len(settings) > 1:
        raise ValueError(
            f"The LoRA layers differ in (rank, alpha, dropout): {sorted(settings)}; save them apart."
        )
    rank, alpha, dropout = settings.pop()
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        stored = _PREFIX + _stored_name(model, name)
        weights[stored + _A] = layer.a.detach().cpu().contiguous()
        weights[stored + _B] = layer.b.detach().cpu().contiguous()
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if isinstance(model, Llama) else None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "target_modules": [_stored_name(model, name) for name in layers],
        **{field: unused[0] for field, unused in _UNUSED.items()},
    }
    folder = Path(path).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_atomically(folder / CONFIG, json.dumps(config, indent=2).encode() + b"\n")


def load_lora(model: nn.Module, path: str | os.PathLike[str]) -> list[str]:
    """Put the LoRA layers of a folder of :func:`save_lora` or of PEFT into a model (Chapter 12).

    Args:
        model: The base model, which is frozen and changed.
        path: The folder.

    Returns:
        The full names of the layers that were replaced.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, asks for more than plain LoRA, or does not fit the model; or the model has LoRA
            layers already.
    """
    folder = Path(path).expanduser()
    config = read_json(folder / CONFIG)
    if (kind := config.get("peft_type")) != "LORA":
        refuse(folder / CONFIG, f"describes an adapter of type {kind!r}, not 'LORA'")
    for field, unused in _UNUSED.items():
        if field in config and config[field] not in unused:
            refuse(
                folder / CONFIG, f"has {field} = {config[field]!r}, which LoRA as it is here does not know"
            )
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"{folder / WEIGHTS}: no such file; it should hold what was learnt.")
    weights, _ = read_safetensors(folder / WEIGHTS)
    ours = {_stored_name(model, n): n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    stored = [name.removeprefix(_PREFIX).removesuffix(_A) for name in weights if name.endswith(_A)]
    expected = {_PREFIX + name + end for name in stored for end in (_A, _B)}
    if not stored or expected != weights.keys():
        refuse(folder / WEIGHTS, "does not hold a pair of lora_A and lora_B for each layer, and nothing else")
    if unknown := [name for name in stored if name not in ours]:
        refuse(
            folder / WEIGHTS,
            f"adapts {unknown[0]!r}, which is no linear layer of this {type(model).__name__}",
        )
    _check_shapes(model, ours, stored, weights, config.get("r"), folder)
    try:
        names = add_lora(
            model,
            [ours[name] for name in stored],
            rank=config["r"],
            alpha=config.get("lora_alpha", config["r"]),
            dropout=config.get("lora_dropout", 0.0),
        )
    except TypeError as error:
        refuse(folder / CONFIG, f"does not describe a LoRA: {error}")
    layers = lora_layers(model)
    with torch.no_grad():
        for name in stored:
            layer: LoRALinear = layers[ours[name]]
            layer.a.copy_(weights[_PREFIX + name + _A])
            layer.b.copy_(weights[_PREFIX + name + _B])
    return names


def _check_shapes(
    model: nn.Module,
    ours: dict[str, str],
    stored: list[str],
    weights: dict[str, Tensor],
    rank: Any,
    folder: Path,
) -> None:
    for name in stored:
        out, into = model.get_submodule(ours[name]).weight.shape  # type: ignore[misc]
        for end, shape in ((_A, (rank, into)), (_B, (out, rank))):
            if (found := tuple(weights[_PREFIX + name + end].shape)) != shape:
                refuse(
                    folder,
                    f"{_PREFIX + name + end} has the shape {found}, but r and the model ask for {shape}",
                )


def _stored_name(model: nn.Module, name: str) -> str:
    """What the format calls a layer."""
    if not isinstance(model, Llama):
        return name
    return llama_format.stored_name(f"{name}.weight").removesuffix(".weight")
