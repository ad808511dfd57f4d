"""The feed-forward layer: the same small network on every token by itself (Chapters 3 and 4)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from llmlib import kernels
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
        bias: Whether the two linear layers have biases.
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
        bias: bool = True,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"There is no activation {activation!r}; there are {', '.join(map(repr, ACTIVATIONS))}."
            )
        hidden = 4 * width if hidden is None else hidden
        self.activation = ACTIVATIONS[activation]
        self.up = nn.Linear(width, hidden, bias=bias)
        self.norm = LayerNorm(hidden, eps) if norm_hidden else nn.Identity()
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Transform each vector of ``x``."""
        return self.down(self.norm(self.activation(self.up(x))))


def swish(x: Float[Tensor, "..."], beta: float = 1.0) -> Float[Tensor, "..."]:
    """Swish_β: x · σ(β x), which is x/2 for β = 0, SiLU for β = 1, and tends to ReLU for large β (Chapter 4).

    Ramachandran et al. 2017, arXiv:1710.05941.
    """
    return x * torch.sigmoid(beta * x)


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": torch.sigmoid,
    "bilinear": lambda x: x,
    "reglu": F.relu,
    "geglu": F.gelu,
    "swiglu": F.silu,
}
"""What each kind of gated linear unit does with its gate (Shazeer 2020, arXiv:2002.05202, section 2)."""


def gated_hidden(width: int, *, multiple_of: int = 8, multiplier: float = 1.0) -> int:
    """The width inside a gated layer that costs as much as a plain layer with 4 · C: 2/3 of that (Chapter 4).

    Three matrices of C · 8/3 C hold as many numbers as two of C · 4 C (Shazeer 2020, arXiv:2002.05202,
    section 2). LLaMA rounds up to what matrix units like (Touvron et al. 2023, arXiv:2302.13971, section 2.2),
    and its later models are wider by a factor.

    >>> gated_hidden(4096, multiple_of=256)  # LLaMA 7B
    11008

    Args:
        width: C.
        multiple_of: Of what the result is a multiple, at least 1.
        multiplier: By what the two thirds are multiplied before they are rounded, 1.3 in Llama 2 70B.
    """
    hidden = int(multiplier * (8 * width // 3))
    return -(-hidden // multiple_of) * multiple_of  # rounded up


class GLU(nn.Module):
    """A feed-forward layer with a gate: W_down · (f(W_gate x) ⊙ W_up x) (Chapter 4).

    Shazeer 2020, arXiv:2002.05202, section 2, after the gated linear unit of Dauphin et al. 2016,
    arXiv:1612.08083. One product says what to pass on, the other how much of it.

    Args:
        width: C.
        hidden: The width between the layers; by default :func:`gated_hidden`.
        kind: f by its name in :data:`GATES`: ``"glu"`` (sigmoid), ``"bilinear"`` (none), ``"reglu"``,
            ``"geglu"`` or ``"swiglu"``.
        bias: Whether the three linear layers have biases.

    Raises:
        ValueError: There is no such kind.
    """

    def __init__(
        self, width: int, hidden: int | None = None, *, kind: str = "glu", bias: bool = False
    ) -> None:
        super().__init__()
        if kind not in GATES:
            raise ValueError(f"There is no gate {kind!r}; there are {', '.join(map(repr, GATES))}.")
        hidden = gated_hidden(width) if hidden is None else hidden
        self.kind = kind
        self.gate = nn.Linear(width, hidden, bias=bias)
        self.up = nn.Linear(width, hidden, bias=bias)
        self.down = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Transform each vector of ``x``."""
        return self.down(GATES[self.kind](self.gate(x)) * self.up(x))


class SwiGLU(GLU):
    """The gated layer of LLaMA and PaLM, whose gate is Swish with β = 1 (Chapter 4).

    Shazeer 2020, arXiv:2002.05202, section 2; the name is short for Swish-gated linear unit. In training it takes
    less memory than ``GLU(kind="swiglu")``, whose values and gradients it has; that one has second derivatives, too.
    On CUDA, :func:`llmlib.kernels.swiglu.swiglu` multiplies gate and values.

    Args:
        width: C.
        hidden: The width between the layers; by default :func:`gated_hidden`.
        bias: Whether the three linear layers have biases.
    """

    def __init__(self, width: int, hidden: int | None = None, *, bias: bool = False) -> None:
        super().__init__(width, hidden, kind="swiglu", bias=bias)

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        """Transform each vector of ``x``."""
        gate, up = self.gate(x), self.up(x)
        product = kernels.swiglu if kernels.available(gate, up) else _SiLUProduct.apply
        return self.down(product(gate, up))


class _SiLUProduct(torch.autograd.Function):
    """silu(gate) · up, which keeps its inputs for the way back and computes silu(gate) there once more.

    PyTorch would keep silu(gate), too: one in four of the wide tensors of the layer.
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate) * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        by_gate = torch.ops.aten.silu_backward(gradient * up, gate)  # times the derivative of silu
        return by_gate, gradient * F.silu(gate)
