"""What every model checks of its token ids, and asks of its callers."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from llmlib.attention import Mask
from llmlib.layers.attention import LayerCache


class Cache(Protocol):
    """What a model asks of a cache of keys and values; :mod:`llmlib.generation.cache` has them (Chapter 7)."""

    @property
    def layers(self) -> Sequence[LayerCache]:
        """The part of each of the L attention layers."""

    def check(self, batch: int, more: int) -> None:
        """Refuse a call that does not fit: another batch, or more tokens than there is room for."""

    def positions(self, more: int) -> Tensor:
        """Where the next tokens stand: (T), or (B, T) where sequences differ."""

    def advance(self, more: int) -> None:
        """Count the tokens that all layers now hold."""


def check_cache(cache: Cache | None, mask: Mask | None, ids: Tensor) -> None:
    """Refuse a cache together with a mask, for the cache says what may be seen, and ids that do not fit it."""
    if cache is None:
        return
    if mask is not None:
        raise ValueError(f"With a cache attention is causal, so it takes no mask, but mask = {mask}.")
    cache.check(*ids.shape)


def layers_of(cache: Cache | None, layers: int) -> Sequence[LayerCache | None]:
    """The part of the cache for each of a model's layers."""
    return [None] * layers if cache is None else cache.layers


def check_ids(ids: Tensor, vocab_size: int | None) -> None:
    """Refuse token ids that a model cannot read.

    On a GPU the values are not checked, for every step would have to wait for the device.

    Args:
        ids: What should be token ids (B, T).
        vocab_size: V, or None where it is not known.

    Raises:
        TypeError: They are not whole numbers.
        ValueError: They are not (B, T), there is none, or one goes beyond the vocabulary.
    """
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise TypeError(f"Token ids must be whole numbers, but are {ids.dtype}: convert with .long().")
    if ids.dim() != 2 or 0 in ids.shape:
        raise ValueError(
            f"Token ids must have the shape (B, T), but have {tuple(ids.shape)}: for one sequence, ids[None]."
        )
    if vocab_size is not None and ids.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"Token ids must be in 0 … {vocab_size - 1} (the vocabulary of this model), but there is "
                f"{low if low < 0 else high}: encode with the tokenizer that the model was trained with."
            )


def initialise(model: nn.Module, std: float) -> None:
    """Draw the weights of a model with Post-LN: biases 0, gains of norms 1, all else normal of mean 0.

    Args:
        model: The model.
        std: The standard deviation.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=std)
