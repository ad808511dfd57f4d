"""How a model that is not being trained is asked: what generation and evaluation share."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor, nn

LanguageModel: TypeAlias = Callable[[Tensor], Tensor]
"""Token ids (B, T) to the logits of the next token at each position, (B, T, V)."""


@contextmanager
def evaluating(model: LanguageModel) -> Iterator[None]:
    """Switch off gradients and all that is for training only, such as dropout; afterwards all is as it was.

    Args:
        model: Any model; those that are no ``nn.Module`` have nothing to switch.
    """
    with evaluating_modules(modules_of(model)):
        yield


def modules_of(model: LanguageModel) -> list[nn.Module]:
    """The parts of a model, for :func:`evaluating_modules`; those that are no ``nn.Module`` have none."""
    return list(model.modules()) if isinstance(model, nn.Module) else []


@contextmanager
def evaluating_modules(modules: Iterable[nn.Module]) -> Iterator[None]:
    """What :func:`evaluating` does, for a loop that lists the parts of its model once.

    Args:
        modules: What :func:`modules_of` gave.
    """
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def device_of(model: LanguageModel) -> torch.device:
    """Where the model computes."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if weight is None else weight.device


def context_of(model: LanguageModel) -> int | None:
    """How many tokens the model reads at once, or None where nothing limits it."""
    context: int | None = getattr(getattr(model, "config", model), "context", None)
    return context


def vocab_size_of(model: LanguageModel) -> int | None:
    """V, or None where the model does not say."""
    vocab_size: int | None = getattr(getattr(model, "config", model), "vocab_size", None)
    return vocab_size
