"""Attention as a layer: of a sequence to itself or to another, with heads that share keys or not (Chapters 3, 4)."""

from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from llmlib import kernels
from llmlib.attention import Bias, Mask, attention, attention_weights, masks
from llmlib.layers.rotary import Rotation, rotate


class LayerCache(Protocol):
    """What a layer asks of a cache of keys and values, such as :mod:`llmlib.generation.cache` has (Chapter 7)."""

    def extend(
        self, k: Float[Tensor, "B G T D"], v: Float[Tensor, "B G T D"]
    ) -> tuple[Float[Tensor, "B G S D"], Float[Tensor, "B G S D"], Mask]:
        """Keep the keys and values of T more tokens.

        Returns:
            All keys and values that these tokens may meet, and which of them each token may see.
        """


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each in its own D = C / H dimensions (Chapter 3).

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2. One layer serves an encoder (no mask), a decoder
    (causal mask) and a decoder that reads an encoder (a memory).

    Args:
        width: C.
        heads: H, which must divide C.
        mask: Which keys each query may see, unless the call says otherwise; None for all of them.
        scale_heads: Whether each head's output has a learned factor, as in NormFormer (Shleifer et al. 2021,
            arXiv:2110.09456, section 2).
        backend: The backend of :func:`~llmlib.attention.dispatch.attention`.

    Raises:
        ValueError: The width is not a multiple of the number of heads.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mask: Mask | None = None,
        scale_heads: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"The width must be a multiple of the number of heads, but width = {width}, heads = {heads}."
            )
        self.heads = heads
        self.mask = mask
        self.backend = backend
        self.qkv = nn.Linear(width, 3 * width)  # queries, keys and values in one product
        self.head_scale = nn.Parameter(torch.ones(heads)) if scale_heads else None
        self.out = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        memory: Float[Tensor, "B S C"] | None = None,
        *,
        mask: Mask | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Let each token of ``x`` gather from ``x`` itself, or from ``memory``.

        Args:
            x: Where the queries come from.
            memory: Where keys and values come from; by default ``x`` (self-attention).
            mask: Used in this call in place of the layer's own.
            cache: The keys and values of the tokens before ``x``, which all may be seen; those of ``x`` are added.
        """
        q, k, v = self._project(x, memory)
        if cache is not None:
            k, v, mask = cache.extend(k, v)
        y = attention(q, k, v, mask=mask or self.mask, backend=self.backend)  # (B, H, T, D)
        if self.head_scale is not None:
            y = y * self.head_scale.view(-1, 1, 1)
        return self.out(y.transpose(1, 2).flatten(-2))

    def weights(
        self,
        x: Float[Tensor, "B T C"],
        memory: Float[Tensor, "B S C"] | None = None,
        *,
        mask: Mask | None = None,
    ) -> Float[Tensor, "B H T S"]:
        """The weights with which :meth:`forward` gathers, which the fast backends never hold: for figures."""
        q, k, _ = self._project(x, memory)
        return attention_weights(q, k, mask=mask or self.mask)

    def _project(
        self, x: Float[Tensor, "B T C"], memory: Float[Tensor, "B S C"] | None
    ) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B H S D"], Float[Tensor, "B H S D"]]:
        if memory is None:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        else:
            width = x.shape[-1]
            of_q, of_kv = self.qkv.weight.split([width, 2 * width])
            bias_of_q, bias_of_kv = self.qkv.bias.split([width, 2 * width])
            q = F.linear(x, of_q, bias_of_q)
            k, v = F.linear(memory, of_kv, bias_of_kv).chunk(2, dim=-1)
        return self._split(q), self._split(k), self._split(v)

    def _split(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T D"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CausalSelfAttention(MultiHeadAttention):
    """Multi-head attention of a sequence to its own past, the one of a decoder (Chapter 3).

    Args:
        width: C.
        heads: H, which must divide C.
        scale_heads: Whether each head's output has a learned factor.
        backend: The backend of :func:`~llmlib.attention.dispatch.attention`.
    """

    def __init__(self, width: int, heads: int, *, scale_heads: bool = False, backend: str = "auto") -> None:
        super().__init__(width, heads, mask=masks.causal(), scale_heads=scale_heads, backend=backend)


class GroupedQueryAttention(nn.Module):
    """Attention of a sequence to itself in which several query heads share a key/value head (Chapters 4 and 7).

    Ainslie et al. 2023, arXiv:2305.13245, section 2.2. With G = H it is multi-head attention, with G = 1
    multi-query attention (Shazeer 2019, arXiv:1911.02150). Keys and values take G / H of the memory when text is
    generated.

    Args:
        width: C.
        heads: H.
        kv_heads: G, which must divide H; by default H.
        head_width: D; by default C / H.
        bias: Whether the four linear layers have biases.
        mask: Which keys each query may see, unless the call says otherwise; None for all of them.
        backend: The backend of :func:`~llmlib.attention.dispatch.attention`.

    Raises:
        ValueError: G does not divide H, or H does not divide C and no head width is given.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        *,
        head_width: int | None = None,
        bias: bool = False,
        mask: Mask | None = None,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        kv_heads = heads if kv_heads is None else kv_heads
        if heads < 1 or kv_heads < 1 or heads % kv_heads:
            raise ValueError(
                "The number of key/value heads must divide the number of query heads, but kv_heads = "
                f"{kv_heads}, heads = {heads}."
            )
        if head_width is None and width % heads:
            raise ValueError(
                f"The width must be a multiple of the number of heads, but width = {width}, heads = {heads}: "
                "change one, or give a head_width."
            )
        self.head_width = width // heads if head_width is None else head_width
        self.mask = mask
        self.backend = backend
        self.query = nn.Linear(width, heads * self.head_width, bias=bias)
        self.key = nn.Linear(width, kv_heads * self.head_width, bias=bias)
        self.value = nn.Linear(width, kv_heads * self.head_width, bias=bias)
        self.out = nn.Linear(heads * self.head_width, width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        rotation: Rotation | None = None,
        *,
        mask: Mask | None = None,
        bias: Bias | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Let each token of ``x`` gather from the others.

        Args:
            x: The sequence.
            rotation: By what queries and keys are rotated, from
                :meth:`~llmlib.layers.rotary.RotaryEmbedding.rotation`; None leaves them as they are.
            mask: Used in this call in place of the layer's own.
            bias: What is added to the scores, such as ALiBi's (Chapter 11).
            cache: The keys and values of the tokens before ``x``, which all may be seen; those of ``x`` are added.
        """
        q, k = self._queries_and_keys(x, rotation)
        v = self._split(self.value(x))
        if cache is not None:
            k, v, mask = cache.extend(k, v)
        y = attention(q, k, v, mask=mask or self.mask, bias=bias, backend=self.backend)  # (B, H, T, D)
        return self.out(y.transpose(1, 2).flatten(-2))

    def weights(
        self,
        x: Float[Tensor, "B T C"],
        rotation: Rotation | None = None,
        *,
        mask: Mask | None = None,
        bias: Bias | None = None,
    ) -> Float[Tensor, "B H T T"]:
        """The weights with which :meth:`forward` gathers, which the fast backends never hold: for figures."""
        return attention_weights(*self._queries_and_keys(x, rotation), mask=mask or self.mask, bias=bias)

    def _queries_and_keys(
        self, x: Float[Tensor, "B T C"], rotation: Rotation | None
    ) -> tuple[Float[Tensor, "B H T D"], Float[Tensor, "B G T D"]]:
        q, k = self._split(self.query(x)), self._split(self.key(x))
        if rotation is None:
            return q, k
        if kernels.available(q, k):
            return kernels.rope(q, k, *rotation)
        return rotate(q, rotation), rotate(k, rotation)

    def _split(self, x: Float[Tensor, "B T HD"]) -> Float[Tensor, "B H T D"]:
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
