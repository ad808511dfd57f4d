"""The step of one token for a small model on a CPU, in as few operations as it takes (Chapter 7).

One token gives a processor little to do in each operation: starting operations, and fetching weights from memory, is
most of the work. So here the formulae of the model stand without its modules, queries, keys and values come from one
product, and weights are laid out (in, out), as products of few rows read them fastest. That takes a copy of the
weights, so it is for small models.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.generation.cache import StaticCache
from llmlib.layers import GroupedQueryAttention, LlamaBlock, RMSNorm, RotaryEmbedding, SwiGLU
from llmlib.models.inference import LanguageModel
from llmlib.models.llama import Llama

SMALL = 20_000_000
"""Up to how many parameters. One core then computes a step faster than two: waking the other takes longer than it
saves."""


_PARTS = {
    Llama,
    LlamaBlock,
    GroupedQueryAttention,
    SwiGLU,
    RMSNorm,
    RotaryEmbedding,
    nn.Embedding,
    nn.Linear,
    nn.ModuleList,
}


def serves(model: LanguageModel, cache: StaticCache) -> bool:
    """Whether :class:`LeanStep` can do it: for a small Llama without biases on a CPU, and texts of one length.

    And for one as it was built: where modules were swapped or watched, as fine-tuning and tracing do, the modules run.
    """
    if not isinstance(model, Llama) or type(cache) is not StaticCache or not isinstance(cache.length, int):
        return False
    if not all(
        type(part) in _PARTS and not part._forward_hooks and not part._forward_pre_hooks
        for part in model.modules()
    ):
        return False
    return _is_small_and_on_cpu(model) and not model.config.attention_bias and not model.config.mlp_bias


def _is_small_and_on_cpu(model: Llama) -> bool:
    return model.tokens.weight.device.type == "cpu" and model.num_parameters() <= SMALL


class LeanStep:
    """Reads one token more of each text, and predicts the next: what ``model(ids, cache=cache)`` does (Chapter 7).

    Args:
        model: A small Llama without biases, on a CPU. Its weights are copied.
        cache: The cache that has read the texts so far, all of one length.
    """

    def __init__(self, model: Llama, cache: StaticCache) -> None:
        self.cache, self.eps = cache, model.config.eps
        self.heads, self.groups = model.config.heads, cache.layers[0].keys.shape[1]
        self.tokens = model.tokens.weight
        self.final_norm = cast(Tensor, model.final_norm.weight)
        output = self.tokens if model.unembedding is None else model.unembedding.weight
        self.output = output.t().contiguous()
        self.weights = [_Weights(block) for block in model.blocks]
        cos, sin = model.rotary.rotation(torch.arange(cache.capacity))  # for every position to come
        self.cos = torch.cat([cos, cos], dim=-1).to(self.tokens.dtype)  # (S, D)
        self.sin = torch.cat([-sin, sin], dim=-1).to(self.tokens.dtype)

    def __call__(self, ids: Int[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
        """The logits after one token more of each text."""
        self.cache.check(len(ids), 1)
        place, batch, size = int(self.cache.length), len(ids), self.cos.shape[1]
        heads, groups = self.heads, self.groups
        cos, sin = self.cos[place], self.sin[place]
        x = F.embedding(ids[:, 0], self.tokens)  # (B, C)
        for layer, w in zip(self.cache.layers, self.weights, strict=True):
            y = F.rms_norm(x, w.attention_norm.shape, w.attention_norm, self.eps)
            qkv = (y @ w.qkv).view(batch, -1, size)  # (B, H + 2 G, D)
            turned = qkv[:, :-groups]
            qk = torch.addcmul(turned * cos, turned.roll(size // 2, dims=-1), sin)
            layer.keys[:, :, place] = qk[:, heads:]
            layer.values[:, :, place] = qkv[:, -groups:]
            keys, values = layer.keys[:, :, : place + 1], layer.values[:, :, : place + 1]
            # The heads of a group meet the same keys: as so many queries of one head.
            q = qk[:, :heads].reshape(batch, groups, -1, size)
            y = F.scaled_dot_product_attention(q, keys, values).reshape(batch, -1)
            x = torch.addmm(x, y, w.out)
            y = F.rms_norm(x, w.feed_forward_norm.shape, w.feed_forward_norm, self.eps)
            x = torch.addmm(x, F.silu(y @ w.gate).mul_(y @ w.up), w.down)
        self.cache.advance(1)
        return F.rms_norm(x, self.final_norm.shape, self.final_norm, self.eps) @ self.output


class _Weights:
    """The weights of a block, laid out (in, out)."""

    def __init__(self, block: Any) -> None:
        attention, feed_forward = block.attention, block.feed_forward
        self.attention_norm, self.feed_forward_norm = (
            block.attention_norm.weight,
            block.feed_forward_norm.weight,
        )
        of_attention = (attention.query, attention.key, attention.value)
        self.qkv = torch.cat([layer.weight for layer in of_attention]).t().contiguous()
        self.out, self.gate, self.up, self.down = (
            layer.weight.t().contiguous()
            for layer in (attention.out, feed_forward.gate, feed_forward.up, feed_forward.down)
        )


@contextmanager
def few_cores(model: LanguageModel) -> Iterator[None]:
    """Compute on one core where the model is a small one on a CPU, for :data:`SMALL`'s reason.

    Changing the number of threads takes time itself, so this is not for single steps.
    """
    if not isinstance(model, Llama) or not _is_small_and_on_cpu(model):
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
