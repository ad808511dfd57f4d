"""The step of one token: as it is, compiled, or captured as a CUDA graph (Chapter 7)."""

from collections.abc import Callable
from functools import cache as once

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.generation.cache import StaticCache
from llmlib.models.inference import LanguageModel


def step(model: LanguageModel, ids: Int[Tensor, "B T"], cache: StaticCache) -> Float[Tensor, "B V"]:
    """Read more tokens; the logits after the last of them."""
    return model.logits(model.hidden(ids, cache=cache)[:, -1])  # type: ignore[attr-defined]


@once
def compiled_step() -> Callable[..., Tensor]:
    """:func:`step` through ``torch.compile``; what it compiles is kept for the next call."""
    return torch.compile(step, dynamic=False)


def captured(
    work_of: Callable[..., Tensor], model: LanguageModel, tokens: Int[Tensor, "B 1"], cache: StaticCache
) -> Callable[[Int[Tensor, "B 1"]], Float[Tensor, "B V"]]:
    """The step as a CUDA graph: the same kernels on the same addresses, each time it is called.

    Args:
        work_of: :func:`step`, or the same compiled.
        model: The model.
        tokens: The next token of each text.
        cache: Its ``length`` is a tensor.
    """
    ids = tokens.clone()
    start = torch.as_tensor(cache.length)
    length = start.clone()

    def work() -> Tensor:
        cache.length = length
        logits = work_of(model, ids, cache)
        length.add_(1)
        return logits

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):  # compiles what is compiled at the first call, and reserves what is reserved
            work()
            length.copy_(start)  # so the same place in the cache is written each time
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = work()
    cache.length = length

    def replay(tokens: Tensor) -> Tensor:
        ids.copy_(tokens)
        graph.replay()
        return logits.clone()

    return replay
