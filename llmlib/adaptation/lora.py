"""LoRA: a weight that stays as it is, and beside it a product of two thin matrices that learns (Chapter 12)."""

import math
import re
from collections.abc import Collection, Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A linear layer whose weight W is frozen, with an update of low rank: y = x Wᵀ + (α/r) x Aᵀ Bᵀ (Chapter 12).

    Hu et al. 2021, arXiv:2106.09685, section 4.1. B starts at zero, so the layer starts as the one it wraps. A starts
    as the weights of a linear layer do in PyTorch, as it does in the authors' code and in PEFT.

    Args:
        base: The layer, whose weights are frozen and shared, not copied.
        rank: r, from 1 to the smaller side of W.
        alpha: α. The update is scaled by α / r, so that a change of r calls for no other learning rate.
        dropout: The share of the inputs of A that are dropped in training.

    Attributes:
        base: The layer.
        a: A, (r, in).
        b: B, (out, r).
        scale: α / r.

    Raises:
        TypeError: ``base`` is no ``nn.Linear``.
        ValueError: ``rank``, ``alpha`` or ``dropout`` is out of its bounds.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"LoRA is for nn.Linear, but got a {type(base).__name__}.")
        largest = min(base.in_features, base.out_features)
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= largest:
            raise ValueError(
                f"rank must be a whole number from 1 to {largest}, the smaller side of a weight of shape "
                f"{tuple(base.weight.shape)}, but is {rank!r}."
            )
        if not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be a number above 0, but is {alpha!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, but is {dropout!r}.")
        self.base = base.requires_grad_(False)
        self.rank, self.alpha, self.scale = rank, alpha, alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.a = nn.Parameter(base.weight.new_empty(rank, base.in_features))
        self.b = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, x: Float[Tensor, "... i"]) -> Float[Tensor, "... o"]:
        """Transform each vector of ``x``."""
        return self.base(x) + self.scale * F.linear(F.linear(self.dropout(x), self.a), self.b)

    def update(self) -> Float[Tensor, "o i"]:
        """The change of the weight, (α/r) B A: of rank r at most."""
        return self.scale * (self.b @ self.a)

    @property
    def weight(self) -> Float[Tensor, "o i"]:
        """W + (α/r) B A, for code that looks at the weight of a linear layer."""
        return self.base.weight + self.update()

    @property
    def bias(self) -> Tensor | None:
        """The bias of the layer, which is frozen, too."""
        return self.base.bias


def add_lora(
    model: nn.Module,
    targets: str | Collection[str],
    *,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
) -> list[str]:
    """Freeze a model, and put a :class:`LoRALinear` in the place of some of its linear layers (Chapter 12).

    Args:
        model: Any model, which is changed.
        targets: Which layers: names such as ``["query", "value"]``, each of which means all layers whose full name is
            it or ends with it after a dot; or one regular expression for the whole name. This is PEFT's rule.
        rank: r.
        alpha: α.
        dropout: The share of the inputs of A that are dropped in training.

    Returns:
        The full names of the layers that were replaced, in the model's order.

    Raises:
        TypeError: ``targets`` matches something that is no linear layer.
        ValueError: ``targets`` matches nothing, the model has LoRA layers already, or a number is out of its bounds.
    """
    if lora_layers(model):
        raise ValueError("The model has LoRA layers already: merge them, or start from the base model.")
    chosen = [name for name, _ in model.named_modules() if _matches(name, targets)]
    if not chosen:
        linear = sorted({n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)})
        raise ValueError(
            f"The targets {targets!r} match no module of this {type(model).__name__}, whose linear layers are called "
            f"{', '.join(map(repr, linear)) or 'nothing: it has none'}."
        )
    if other := [name for name in chosen if not isinstance(model.get_submodule(name), nn.Linear)]:
        kind = type(model.get_submodule(other[0])).__name__
        raise TypeError(
            f"The targets match {other[0]!r}, a {kind}, but LoRA is for nn.Linear: name layers within it."
        )
    layers = {name: LoRALinear(model.get_submodule(name), rank, alpha, dropout) for name in chosen}  # type: ignore[arg-type]
    model.requires_grad_(False)
    for name, layer in layers.items():
        layer.a.requires_grad_()
        layer.b.requires_grad_()
        swap(model, name, layer)
    return chosen


def lora_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """The LoRA layers of a model by their full names, in the model's order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


@torch.no_grad()
def merge(model: nn.Module) -> dict[str, LoRALinear]:
    """Put plain linear layers with the weights W + (α/r) B A in the place of the LoRA layers (Chapter 12).

    The model then costs what it cost before it was adapted, and can be saved as any other.

    Args:
        model: A model with LoRA layers, which is changed. W itself is not.

    Returns:
        The LoRA layers that were taken out, for :func:`unmerge`. Who drops them frees their memory.

    Raises:
        ValueError: The model has no LoRA layers.
    """
    layers = _some_layers(model)
    for name, layer in layers.items():
        plain = nn.Linear(layer.base.in_features, layer.base.out_features, bias=False, device="meta")
        plain.weight = nn.Parameter(layer.weight, requires_grad=False)
        plain.bias = layer.base.bias
        swap(model, name, plain)
    return layers


def unmerge(model: nn.Module, layers: Mapping[str, LoRALinear]) -> None:
    """Undo :func:`merge`, bit for bit: the LoRA layers come back, and with them the weights of the base.

    Args:
        model: The model that was merged, which is changed.
        layers: What :func:`merge` returned.
    """
    for name, layer in layers.items():
        swap(model, name, layer)


def remove_lora(model: nn.Module) -> None:
    """Give a model its own layers back, without what was learnt (Chapter 12).

    Raises:
        ValueError: The model has no LoRA layers.
    """
    for name, layer in _some_layers(model).items():
        swap(model, name, layer.base)


def swap(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace a part of a model: ``setattr`` on the module that holds it."""
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, module)


def _matches(name: str, targets: str | Collection[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _some_layers(model: nn.Module) -> dict[str, LoRALinear]:
    layers = lora_layers(model)
    if not layers:
        raise ValueError("The model has no LoRA layers: add_lora puts them in.")
    return layers
