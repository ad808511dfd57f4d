"""Looking inside a model while it runs: attention weights and hidden states of every layer (Chapter 3)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from llmlib.layers.attention import GroupedQueryAttention, MultiHeadAttention
from llmlib.layers.blocks import Block, LlamaBlock


@dataclass
class Captured:
    """What :func:`capture` saw, in the order in which the layers ran (Chapter 3).

    Attributes:
        attention: The weights of each attention layer, (B, H, T, S), without gradients.
        hidden: What went into the first block and what came out of each, (B, T, C): L + 1 of them.
    """

    attention: list[Tensor] = field(default_factory=list)
    hidden: list[Tensor] = field(default_factory=list)


@contextmanager
def capture(model: nn.Module) -> Iterator[Captured]:
    """Collect the attention weights and hidden states of each call inside a ``with`` block (Chapter 3).

    Outside of it the model runs as always: only here are the weights computed, once more, from what goes into
    each attention layer. Hidden states stay part of the graph, so one can ask for their gradients.

    >>> with capture(model) as seen:
    ...     model(ids)
    >>> seen.attention[0].shape  # (B, H, T, S)

    Args:
        model: Any module that holds blocks or attention layers of :mod:`llmlib.layers`.

    Yields:
        What is seen, which fills while the model runs.

    Raises:
        ValueError: By the model, when it is called with a cache.
    """
    seen = Captured()

    @torch.no_grad()
    def attended(
        layer: MultiHeadAttention | GroupedQueryAttention, args: Any, kwargs: Any, output: Tensor
    ) -> None:
        kwargs = dict(kwargs)
        if kwargs.pop("cache", None) is not None:
            raise ValueError("Weights are captured of whole sequences: call the model without a cache.")
        seen.attention.append(layer.weights(*args, **kwargs))

    def passed(block: Block | LlamaBlock, args: Any, kwargs: Any, output: Tensor) -> None:
        if not seen.hidden:
            seen.hidden.append(args[0])
        seen.hidden.append(output)

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, MultiHeadAttention | GroupedQueryAttention):
                hook = module.register_forward_hook(attended, with_kwargs=True)
            elif isinstance(module, Block | LlamaBlock):
                hook = module.register_forward_hook(passed, with_kwargs=True)
            else:
                continue
            stack.callback(hook.remove)
        yield seen
