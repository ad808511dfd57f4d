"""Multi-head attention as a layer: of a sequence to itself, or to another sequence (Chapter 3)."""

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.attention import Mask, attention, attention_weights, masks


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
    ) -> Float[Tensor, "B T C"]:
        """Let each token of ``x`` gather from ``x`` itself, or from ``memory``.

        Args:
            x: Where the queries come from.
            memory: Where keys and values come from; by default ``x`` (self-attention).
            mask: Used in this call in place of the layer's own.
        """
        q, k, v = self._project(x, memory)
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
