"""The Transformer block: with the three places where normalisation may stand, and LLaMA's (Chapters 3 and 4)."""

from jaxtyping import Float
from torch import Tensor, nn

from llmlib.attention import Bias, Mask, masks
from llmlib.layers.attention import GroupedQueryAttention, LayerCache, MultiHeadAttention
from llmlib.layers.feed_forward import FeedForward, SwiGLU
from llmlib.layers.norms import LayerNorm, RMSNorm
from llmlib.layers.rotary import Rotation

NORM_PLACEMENTS = ("pre", "post", "normformer")


class Block(nn.Module):
    """Attention, then a feed-forward layer, each added to the stream that passes through (Chapter 3).

    With f for a sublayer and LN for layer normalisation, one step is

    - ``"post"``: LN(x + f(x)), as in the first Transformer (Vaswani et al. 2017, arXiv:1706.03762, section
      3.1);
    - ``"pre"``: x + f(LN(x)), as in GPT-2 (compared by Xiong et al. 2020, arXiv:2002.04745, table 1);
    - ``"normformer"``: ``"pre"`` with three more: LN after attention, a learned factor for each of its heads,
      and LN after the activation of the feed-forward layer (Shleifer et al. 2021, arXiv:2110.09456, section
      2; without its optional scaling of the residual).

    One block serves as encoder (no mask), as decoder (causal mask), or, with cross-attention, as the decoder
    that reads what an encoder made.

    Args:
        width: C.
        heads: H, which must divide C.
        hidden: The width inside the feed-forward layer; by default 4 · C.
        norm: Where normalisation stands, one of :data:`NORM_PLACEMENTS`.
        activation: One of :data:`~llmlib.layers.feed_forward.ACTIVATIONS`.
        mask: Which positions self-attention may see, unless the call says otherwise; None for all of them.
        cross_attention: Whether the block also attends to a memory, between its two other sublayers.
        eps: The eps of the layer norms.
        backend: The backend of :func:`~llmlib.attention.dispatch.attention`.

    Raises:
        ValueError: The norm placement or the activation is unknown, or heads do not divide the width.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        norm: str = "pre",
        activation: str = "gelu_tanh",
        mask: Mask | None = None,
        cross_attention: bool = False,
        eps: float = 1e-5,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if norm not in NORM_PLACEMENTS:
            raise ValueError(
                f"There is no norm placement {norm!r}; there are {', '.join(map(repr, NORM_PLACEMENTS))}."
            )
        self.norm = norm
        normformer = norm == "normformer"

        def attend(mask: Mask | None) -> MultiHeadAttention:
            return MultiHeadAttention(width, heads, mask=mask, scale_heads=normformer, backend=backend)

        self.attention_norm = LayerNorm(width, eps)
        self.attention = attend(mask)
        self.attention_out_norm = LayerNorm(width, eps) if normformer else nn.Identity()
        self.cross_attention: MultiHeadAttention | None = None
        if cross_attention:
            self.cross_attention_norm = LayerNorm(width, eps)
            self.cross_attention = attend(None)
            self.cross_attention_out_norm = LayerNorm(width, eps) if normformer else nn.Identity()
        self.feed_forward_norm = LayerNorm(width, eps)
        self.feed_forward = FeedForward(width, hidden, activation=activation, norm_hidden=normformer, eps=eps)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        memory: Float[Tensor, "B S C"] | None = None,
        *,
        mask: Mask | None = None,
        memory_mask: Mask | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Pass the sequence through the block.

        Args:
            x: The sequence.
            memory: What cross-attention reads, such as the output of an encoder.
            mask: Used by self-attention in this call in place of the block's own.
            memory_mask: Which positions of the memory may be seen; None for all of them.
            cache: The keys and values of the tokens before ``x``, for self-attention.

        Raises:
            ValueError: The block has cross-attention and no memory came, or the other way round.
        """
        if (memory is None) != (self.cross_attention is None):
            raise ValueError(
                "This block has cross-attention, so its call needs a memory."
                if memory is None
                else "This block has no cross-attention for the memory: build it with cross_attention=True."
            )
        if self.norm == "post":
            x = self.attention_norm(x + self.attention(x, mask=mask, cache=cache))
            if self.cross_attention is not None:
                x = self.cross_attention_norm(x + self.cross_attention(x, memory, mask=memory_mask))
            return self.feed_forward_norm(x + self.feed_forward(x))
        x = x + self.attention_out_norm(self.attention(self.attention_norm(x), mask=mask, cache=cache))
        if self.cross_attention is not None:
            y = self.cross_attention(self.cross_attention_norm(x), memory, mask=memory_mask)
            x = x + self.cross_attention_out_norm(y)
        return x + self.feed_forward(self.feed_forward_norm(x))


class LlamaBlock(nn.Module):
    """The decoder block of LLaMA: x + attention(norm(x)), then x + SwiGLU(norm(x)) (Chapter 4).

    Touvron et al. 2023, arXiv:2302.13971, section 2.2: normalised before each sublayer as in GPT-2, by the root
    mean square; a gated feed-forward layer; positions by rotation of queries and keys; and no biases.

    Args:
        width: C.
        heads: H.
        hidden: The width inside the feed-forward layer; by default
            :func:`~llmlib.layers.feed_forward.gated_hidden`.
        kv_heads: G, which must divide H; by default H.
        head_width: D; by default C / H.
        attention_bias: Whether the linear layers of attention have biases.
        mlp_bias: Whether those of the feed-forward layer have.
        eps: The eps of the norms.
        backend: The backend of :func:`~llmlib.attention.dispatch.attention`.

    Raises:
        ValueError: G does not divide H, or H does not divide C and no head width is given.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        kv_heads: int | None = None,
        head_width: int | None = None,
        attention_bias: bool = False,
        mlp_bias: bool = False,
        eps: float = 1e-6,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(width, eps)
        self.attention = GroupedQueryAttention(
            width,
            heads,
            kv_heads,
            head_width=head_width,
            bias=attention_bias,
            mask=masks.causal(),
            backend=backend,
        )
        self.feed_forward_norm = RMSNorm(width, eps)
        self.feed_forward = SwiGLU(width, hidden, bias=mlp_bias)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        rotation: Rotation | None = None,
        *,
        mask: Mask | None = None,
        bias: Bias | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Pass the sequence through the block.

        Args:
            x: The sequence.
            rotation: By what queries and keys are rotated, from
                :meth:`~llmlib.layers.rotary.RotaryEmbedding.rotation`; None leaves them as they are.
            mask: Used by attention in this call in place of the causal mask.
            bias: What attention adds to its scores, such as ALiBi's (Chapter 11).
            cache: The keys and values of the tokens before ``x``.
        """
        x = x + self.attention(self.attention_norm(x), rotation, mask=mask, bias=bias, cache=cache)
        return x + self.feed_forward(self.feed_forward_norm(x))
