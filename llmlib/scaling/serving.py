"""Training a smaller model for longer, because it will be used a lot (Chapter 9)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmlib.scaling.checks import positive
from llmlib.scaling.laws import HOFFMANN, ChinchillaConstants, Optimum, chinchilla, tokens_for

HALVINGS = 100


def cheapest(
    loss: ArrayLike,
    served: ArrayLike,
    constants: ChinchillaConstants = HOFFMANN,
) -> Optimum:
    """The model of a given loss that costs least to train and to use: least 6 N D + 2 N D_served (Chapter 9).

    Sardana et al. 2024, arXiv:2401.00448, section 2. A token that is trained on costs 6 N FLOPs, one that is read or
    written later only 2 N. Without any use it is the compute-optimal model; with much, a smaller one that is trained
    on more tokens.

    Args:
        loss: The loss to reach, in nats a token: a number or an array.
        served: D_served, the tokens that the model will read and write in its life; 0 for none.
        constants: Whose.

    Returns:
        The best N, its D and the loss.

    Raises:
        ValueError: A number is negative or not finite, or no model reaches the loss.
        TypeError: ``constants`` are of another law.
    """
    wanted, use = np.broadcast_arrays(positive("loss", loss), _not_negative(served))
    k = constants
    if not (wanted > k.E).all():
        raise ValueError(
            f"No model has a loss of {wanted.min():g}: with these constants the text itself has E = {k.E:g}."
        )
    # Between the size that reaches the loss with endless data only, and the one for which training alone costs least.
    low = np.log(k.A / (wanted - k.E)) / k.alpha
    high = np.log(k.A * (1 + k.alpha / k.beta) / (wanted - k.E)) / k.alpha
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        too_large = _slope(np.exp(middle), wanted, use, k) > 0
        low, high = np.where(too_large, low, middle), np.where(too_large, middle, high)
    N = np.exp(high)
    D = tokens_for(wanted, N, k)
    return Optimum(N, D, chinchilla(N, D, k))


def _slope(N: Any, loss: Any, served: Any, k: ChinchillaConstants) -> Any:
    """The derivative of the cost by N, which is below 0 for models that are too small."""
    of_size = k.A / N**k.alpha
    left = loss - k.E - of_size  # what B / D^β may be
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        tokens = (k.B / left) ** (1 / k.beta)
        slope = 6 * tokens * (1 - k.alpha * of_size / (k.beta * left)) + 2 * served
    return np.where(left > 0, slope, -np.inf)


def _not_negative(served: ArrayLike) -> Any:
    array = np.asarray(served, dtype=np.float64)
    if not ((array >= 0) & np.isfinite(array)).all():
        raise ValueError(f"served must be a number of tokens, 0 or more, but is {served!r}.")
    return array
