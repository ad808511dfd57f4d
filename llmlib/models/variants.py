"""LLaMA with some of its three changes taken back, to see what each is worth (Chapters 4 and 11)."""

import math
import os
from typing import Any, NoReturn, Self, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.attention import Bias, Mask, alibi
from llmlib.layers import (
    ACTIVATIONS,
    GATES,
    GLU,
    FeedForward,
    LayerNorm,
    LearnedPositions,
    RopeScaling,
    SinusoidalPositions,
    SwiGLU,
)
from llmlib.models.inputs import Cache, check_ids
from llmlib.models.llama import Llama
from llmlib.models.llama_config import LlamaConfig

CHOICES = {
    "norm": ("rms", "layer"),
    "feed_forward": (*GATES, *ACTIVATIONS),
    "positions": ("rope", "learned", "sinusoidal", "alibi", "none"),
}
"""What each argument of :class:`LlamaVariant` may be."""


class LlamaVariant(Llama):
    """A :class:`~llmlib.models.llama.Llama` with other norms, feed-forward layers or positions (Chapters 4, 11).

    All else is the same. A plain feed-forward layer is 3/2 times as wide inside as a gated one, so it has as many
    parameters; a layer norm has C more than RMSNorm, for its shift, and learned positions are T · C more.

    Args:
        config: The shape.
        norm: ``"rms"``, or ``"layer"`` for layer normalisation.
        feed_forward: A gate of :data:`~llmlib.layers.feed_forward.GATES`, or an activation of
            :data:`~llmlib.layers.feed_forward.ACTIVATIONS` for a plain layer.
        positions: ``"rope"``; ``"learned"`` or ``"sinusoidal"`` for vectors that are added to those of the
            tokens; ``"alibi"`` for :func:`~llmlib.attention.bias.alibi`; or ``"none"``, for a model to which the
            causal mask alone tells what comes before what.

    Raises:
        ValueError: A choice is unknown, or a plain layer as large as the gated one has no whole width.
    """

    def __init__(
        self, config: LlamaConfig, *, norm: str = "rms", feed_forward: str = "swiglu", positions: str = "rope"
    ) -> None:
        chosen = {"norm": norm, "feed_forward": feed_forward, "positions": positions}
        for name, choices in CHOICES.items():
            if chosen[name] not in choices:
                offered = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {offered}, but is {chosen[name]!r}.")
        super().__init__(config)
        self.rotates = positions == "rope"
        self.bias: Bias | None = alibi(config.heads) if positions == "alibi" else None
        self.positions: nn.Module = nn.Identity()
        if positions == "learned":
            self.positions = LearnedPositions(config.context, config.width)
        elif positions == "sinusoidal":
            self.positions = SinusoidalPositions(config.width)
        # A module is replaced by assigning to its name (Chapter 2).
        for block in self.blocks:
            block.feed_forward = _feed_forward(config, feed_forward)
            if norm == "layer":
                block.attention_norm = LayerNorm(config.width)
                block.feed_forward_norm = LayerNorm(config.width)
        if norm == "layer":
            self.final_norm = LayerNorm(config.width)
        self._initialise()

    def hidden(
        self, ids: Int[Tensor, "B T"], *, mask: Mask | None = None, cache: Cache | None = None
    ) -> Float[Tensor, "B T C"]:
        """What the blocks make of ``ids``: the vectors from which :meth:`logits` predicts the next tokens.

        Raises:
            ValueError: There is a cache: a variant takes none.
        """
        if cache is not None:
            raise ValueError("A LlamaVariant takes no cache: call generate with cache=False.")
        check_ids(ids, self.config.vocab_size)
        x = self.tokens(ids)
        if isinstance(self.positions, SinusoidalPositions):
            # As in GPT: positions, which are of size 1, would drown the tokens.
            x = x * math.sqrt(self.config.width)
        x = self.positions(x)
        positions = torch.arange(ids.shape[1], device=ids.device)
        rotation = self.rotary.rotation(positions) if self.rotates else None
        for block in self.blocks:
            x = block(x, rotation, mask=mask, bias=self.bias)
        return self.final_norm(x)

    def with_rope(self, *, base: float | None = None, scaling: RopeScaling | None = None) -> Self:
        """As :meth:`Llama.with_rope <llmlib.models.llama.Llama.with_rope>`.

        Raises:
            ValueError: The model has other positions than RoPE's.
        """
        if not self.rotates:
            raise ValueError("This model has no RoPE to change: build it with positions='rope'.")
        return super().with_rope(base=base, scaling=scaling)

    def save_pretrained(self, path: str | os.PathLike[str], **options: Any) -> NoReturn:
        """A variant is made for an experiment: no file format describes it.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "A LlamaVariant has no checkpoint format: keep its state_dict(), or save a Llama."
        )


def _feed_forward(config: LlamaConfig, kind: str) -> nn.Module:
    width, hidden = config.width, cast(int, config.hidden)
    if kind == "swiglu":
        return SwiGLU(width, hidden, bias=config.mlp_bias)
    if kind in GATES:
        return GLU(width, hidden, kind=kind, bias=config.mlp_bias)
    if hidden % 2:
        raise ValueError(
            f"A plain layer as large as a gated one is 3/2 as wide inside, but hidden = {hidden} is odd."
        )
    return FeedForward(width, 3 * hidden // 2, activation=kind, bias=config.mlp_bias)
