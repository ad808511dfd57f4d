"""Muon: momentum, made orthogonal (Chapter 3)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# The polynomial a x + b x³ + c x⁵ of Jordan et al. 2024. Applied five times, it takes every number between
# 0.01 and 1 to one between about 0.7 and 1.2.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalised(matrix: Float[Tensor, "a b"]) -> Float[Tensor, "a b"]:
    """The matrix with all its singular values brought near 1 (Chapter 3).

    An odd polynomial of a matrix is the same polynomial of its singular values, so a few products of matrices
    do what a singular value decomposition would (Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/).
    On a GPU it is done in bfloat16, which is exact enough. On a CPU it is done in the type of the matrix:
    processors that have no instruction for bfloat16 take 50 times as long with it.

    Args:
        matrix: A step's direction.

    Returns:
        A direction that is about equally long along every axis it has.
    """
    x = matrix if matrix.device.type == "cpu" else matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


class Muon(torch.optim.Muon):
    """PyTorch's Muon with :func:`orthogonalised` in it, which is fast on every CPU (Chapter 3).

    The update of a matrix W (a, b) with gradient G is, with momentum m and learning rate η,

        M ← m M + (1 − m) G
        W ← (1 − η λ) W − η √max(1, a / b) · orthogonalised(m M + (1 − m) G)

    Args:
        params: The matrices, or groups of them, as PyTorch's optimisers take them.
        lr: η, the learning rate.
        weight_decay: λ.
        momentum: m.

    Raises:
        ValueError: A weight is not a matrix, or a number is negative.
    """

    def __init__(self, params: Any, lr: float, weight_decay: float = 0.1, momentum: float = 0.95) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, momentum=momentum)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            m, rate = group["momentum"], group["lr"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - m)
                update = orthogonalised(weight.grad.lerp(momentum, m))  # looks one step ahead: Nesterov
                rows, columns = weight.shape
                weight.mul_(1 - rate * group["weight_decay"])
                weight.add_(update, alpha=-rate * max(1, rows / columns) ** 0.5)
