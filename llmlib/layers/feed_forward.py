"""The feed-forward layer: the same small network on every token by itself (Chapter 3)."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

from llmlib.layers.norms import LayerNorm

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
}
"""ReLU (the first Transformer, OPT), GELU (BERT), and GELU by tanh (GPT-2): Hendrycks and Gimpel 2016,
arXiv:1606.08415, section 2."""


class FeedForward(nn.Module):
    """Two linear layers with an activation between them: W₂ · f(W₁ x + b₁) + b₂ (Chapter 3).

    Vaswani et al. 2017, arXiv:1706.03762, equation 2.

    Args:
        width: C.
        hidden: The width between the two layers; by default 4 · C.
        activation: f, one of :data:`ACTIVATIONS`.
        norm_hidden: Whether a layer norm follows f, as in NormFormer (Shleifer et al. 2021, arXiv:2110.09456,
            section 2).
        eps: The eps of that layer norm.

    Raises:
        ValueError: There is no activation of that name.
    """

    def __init__(
        self,
        width: int,
        hidden: int | None = None,
        *,
        activation: str = "gelu_tanh",
        norm_hidden: bool = False,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"There is no activation {activation!r}; there are {', '.join(map(repr, ACTIVATIONS))}."
            )
        hidden = 4 * width if hidden is None else hidden
        self.activation = ACTIVATIONS[activation]
        self.up = nn.Linear(width, hidden)
        self.norm = LayerNorm(hidden, eps) if norm_hidden else nn.Identity()
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Transform each vector of ``x``."""
        return self.down(self.norm(self.activation(self.up(x))))
