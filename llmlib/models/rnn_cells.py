"""LSTM and GRU: one step of each, written so that it can be read, and a whole layer (Chapter 2).

A step takes the four parameters of a layer of ``torch.nn.LSTM`` or ``torch.nn.GRU``: W (K·C, C) for the
input, U (K·C, C) for the state, and a bias (K·C) for each. K is 4 or 3: the gates stand one below the other.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

State: TypeAlias = tuple[Float[Tensor, "B C"], ...]
"""What a layer remembers of each sequence: (h, c) in an LSTM, (h,) in a GRU. Its output is h."""

Weights: TypeAlias = Sequence[Tensor]
"""W, U, the bias of W and the bias of U."""


def lstm_cell(x: Float[Tensor, "B C"], state: State, weights: Weights) -> State:
    """One step of a long short-term memory (Chapter 2).

    Hochreiter and Schmidhuber 1997, "Long short-term memory", with the forget gate of Gers et al. 2000,
    "Learning to forget". The memory c changes by addition, so that gradients reach far back.

    Args:
        x: The input of this step.
        state: (h, c) after the step before.
        weights: Of the gates write, keep, new and show, in this order.

    Returns:
        The new (h, c).
    """
    w, u, bias_w, bias_u = weights
    h, c = state
    write, keep, new, show = (F.linear(x, w, bias_w) + F.linear(h, u, bias_u)).chunk(4, dim=-1)
    c = keep.sigmoid() * c + write.sigmoid() * new.tanh()
    h = show.sigmoid() * c.tanh()
    return h, c


def gru_cell(x: Float[Tensor, "B C"], state: State, weights: Weights) -> State:
    """One step of a gated recurrent unit (Chapter 2).

    Cho et al. 2014, arXiv:1406.1078, section 2.3; but the reset gate acts on U h and not on h, as in PyTorch
    and cuDNN, so that one product with h serves all gates.

    Args:
        x: The input of this step.
        state: (h,) after the step before.
        weights: Of the gates reset, keep and new, in this order.

    Returns:
        The new (h,).
    """
    w, u, bias_w, bias_u = weights
    (h,) = state
    reset_x, keep_x, new_x = F.linear(x, w, bias_w).chunk(3, dim=-1)
    reset_h, keep_h, new_h = F.linear(h, u, bias_u).chunk(3, dim=-1)
    keep = (keep_x + keep_h).sigmoid()
    new = (new_x + (reset_x + reset_h).sigmoid() * new_h).tanh()
    return (keep * h + (1 - keep) * new,)


def run_reference(
    layer: nn.LSTM | nn.GRU, x: Float[Tensor, "B T C"], state: State
) -> tuple[Float[Tensor, "B T C"], State]:
    """Run a layer step by step, through the cells above with the layer's weights.

    Args:
        layer: A single layer of PyTorch, with ``batch_first=True``.
        x: Its input.
        state: Its state before the first step.

    Returns:
        Its output, and its state after the last step.
    """
    cell = lstm_cell if isinstance(layer, nn.LSTM) else gru_cell
    (weights,) = layer.all_weights
    outputs = []
    for t in range(x.shape[1]):
        state = cell(x[:, t], state, weights)
        outputs.append(state[0])
    return torch.stack(outputs, dim=1), state


def run_torch(
    layer: nn.LSTM | nn.GRU, x: Float[Tensor, "B T C"], state: State
) -> tuple[Float[Tensor, "B T C"], State]:
    """The same through PyTorch, which runs all steps in one call, on a GPU in one kernel of cuDNN."""
    # PyTorch's states have an axis for layers in front, and a GRU's is no tuple.
    if isinstance(layer, nn.LSTM):
        x, (h, c) = layer(x, (state[0][None], state[1][None]))
        return x, (h[0], c[0])
    x, h = layer(x, state[0][None])
    return x, (h[0],)


LAYERS: dict[str, Callable[..., nn.LSTM | nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}
BACKENDS = {"torch": run_torch, "reference": run_reference}
