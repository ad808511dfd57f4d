"""The scaling laws of Kaplan et al. and of Hoffmann et al., with their constants (Chapter 9).

Loss is in nats a token, N in parameters, D in tokens, C in FLOPs; C = 6 N D throughout. The constants belong to the
text, the tokens and the vocabulary that they were fitted to: compare losses of one set of constants only.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlib.scaling.checks import positive

PETAFLOP_DAY = 1e15 * 24 * 3600  # FLOPs


@dataclass(frozen=True)
class ChinchillaConstants:
    """L(N, D) = E + A / N^α + B / D^β (Hoffmann et al. 2022, arXiv:2203.15556, eq. 2; Chapter 9).

    Attributes:
        E: What no model can learn: the entropy of the text, in nats a token.
        A: The scale of what a model loses for being finite.
        B: The scale of what it loses for having seen finitely many tokens.
        alpha: α, how fast the former falls.
        beta: β, how fast the latter falls.
        source: Where the constants are from.
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    source: str = ""

    @property
    def a(self) -> float:
        """The exponent of the best size, N ∝ C^a: a = β / (α + β)."""
        return self.beta / (self.alpha + self.beta)

    @property
    def b(self) -> float:
        """The exponent of the best number of tokens, D ∝ C^b: b = 1 − a."""
        return self.alpha / (self.alpha + self.beta)


@dataclass(frozen=True)
class KaplanConstants:
    """The power laws of Kaplan et al. 2020, arXiv:2001.08361 (Chapter 9). N is without embeddings.

    L(N) = (N_c / N)^α_N for endless data, L(D) = (D_c / D)^α_D for endless models (eq. 1.1 and 1.2), and both at once
    in L(N, D) = ((N_c / N)^(α_N / α_D) + D_c / D)^α_D, for models that are trained until they no longer improve
    (eq. 1.5). How to spend a budget is another fit: N = N_e C_min^p_N.

    Attributes:
        N_c: The scale of N, in parameters.
        alpha_N: α_N.
        D_c: The scale of D, in tokens.
        alpha_D: α_D.
        source: Where the constants are from.
        N_e: The best number of parameters for a C_min of one PF-day, 8.64e19 FLOPs.
        p_N: The exponent of the best size.
        C_c: The scale of C_min in (C_c / C_min)^α_C, the loss with the best use of a budget, in PF-days.
        alpha_C: α_C.
    """

    N_c: float
    alpha_N: float
    D_c: float
    alpha_D: float
    source: str = ""
    N_e: float = 1.3e9
    p_N: float = 0.73
    C_c: float = 3.1e8
    alpha_C: float = 0.050


HOFFMANN_ROUNDED = ChinchillaConstants(
    1.69, 406.4, 410.7, 0.34, 0.28, "Hoffmann et al. 2022, arXiv:2203.15556, eq. 10"
)
HOFFMANN = ChinchillaConstants(
    E=math.exp(0.5267228),
    A=math.exp(6.0073404),
    B=math.exp(6.0179186),
    alpha=0.33917084,
    beta=0.2849083,
    source="Hoffmann et al. 2022, unrounded in the TeX source of arXiv:2203.15556; see Besiroglu et al. 2024",
)
BESIROGLU = ChinchillaConstants(
    1.8172, 482.01, 2085.43, 0.3478, 0.3658, "Besiroglu et al. 2024, arXiv:2404.10102, table 1"
)
KAPLAN = KaplanConstants(8.8e13, 0.076, 5.4e13, 0.095, "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1 to 1.3")
KAPLAN_JOINT = KaplanConstants(
    6.4e13, 0.076, 1.8e13, 0.103, "Kaplan et al. 2020, arXiv:2001.08361, table 2: fit of L(N, D)"
)


@dataclass(frozen=True)
class Optimum:
    """The best use of a budget: each a number, or an array with one for each budget (Chapter 9).

    Attributes:
        N: Parameters.
        D: Tokens.
        loss: The loss that the law expects, in nats a token.
    """

    N: Any
    D: Any
    loss: Any


def chinchilla(
    N: ArrayLike,
    D: ArrayLike,
    constants: ChinchillaConstants = HOFFMANN,
) -> Any:
    """The loss of N parameters after D tokens, E + A / N^α + B / D^β (Chapter 9).

    Hoffmann et al. 2022, arXiv:2203.15556, eq. 2.

    Args:
        N: Parameters: a number or an array.
        D: Tokens; an array of a shape that goes with that of N.
        constants: Whose.

    Returns:
        The loss in nats a token, of the shape that N and D have together.

    Raises:
        ValueError: A number is not positive and finite.
        TypeError: ``constants`` are of another law.
    """
    k = _of_kind(constants, ChinchillaConstants)
    return k.E + k.A / positive("N", N) ** k.alpha + k.B / positive("D", D) ** k.beta


def kaplan(
    N: ArrayLike,
    D: ArrayLike,
    constants: KaplanConstants = KAPLAN_JOINT,
) -> Any:
    """The loss of N parameters that learn from D tokens until they no longer improve (Chapter 9).

    Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5: ((N_c / N)^(α_N / α_D) + D_c / D)^α_D. Unlike in
    :func:`chinchilla`, the tokens may be read several times, and nothing is said of the cost. As D grows it becomes
    L(N) of eq. 1.1, as N grows L(D) of eq. 1.2. A D or an N that is infinite gives these.

    Args:
        N: Parameters without embeddings: a number or an array.
        D: Tokens of different text; an array of a shape that goes with that of N.
        constants: Whose.

    Returns:
        The loss in nats a token, of the shape that N and D have together.

    Raises:
        ValueError: A number is not positive.
        TypeError: ``constants`` are of another law.
    """
    k = _of_kind(constants, KaplanConstants)
    of_size = (k.N_c / positive("N", N, infinite=True)) ** (k.alpha_N / k.alpha_D)
    return (of_size + k.D_c / positive("D", D, infinite=True)) ** k.alpha_D


def optimal(
    C: ArrayLike,
    constants: ChinchillaConstants | KaplanConstants = HOFFMANN,
) -> Optimum:
    """How to spend C FLOPs: the N and D with C = 6 N D of the lowest loss (Chapter 9).

    For Chinchilla's law it is a calculation (Hoffmann et al. 2022, arXiv:2203.15556, eq. 4): N = G (C / 6)^a and
    D = (C / 6)^b / G with G = (α A / (β B))^(1 / (α + β)). For Kaplan's it is a fit of its own (Kaplan et al. 2020,
    arXiv:2001.08361, section 6.1 and appendix A): N = N_e C_min^p_N and a loss of (C_c / C_min)^α_C, where C_min, in
    PF-days, is half of C for a batch of the critical size (eq. 5.5); and D is what C leaves for tokens. It cannot be
    had from eq. 1.5, which knows no cost.

    Args:
        C: FLOPs of training: a number or an array.
        constants: Whose.

    Returns:
        The best N, its D and the loss.

    Raises:
        ValueError: A budget is not positive and finite.
        TypeError: ``constants`` are of no known law.
    """
    budget = positive("C", C)
    k = _of_kind(constants, ChinchillaConstants, KaplanConstants)
    if isinstance(k, KaplanConstants):
        C_min = budget / 2 / PETAFLOP_DAY
        N = k.N_e * C_min**k.p_N
        return Optimum(N, budget / (6 * N), (k.C_c / C_min) ** k.alpha_C)
    G = (k.alpha * k.A / (k.beta * k.B)) ** (1 / (k.alpha + k.beta))
    N, D = G * (budget / 6) ** k.a, (budget / 6) ** k.b / G
    return Optimum(N, D, chinchilla(N, D, k))


def tokens_for(
    loss: ArrayLike,
    N: ArrayLike,
    constants: ChinchillaConstants = HOFFMANN,
) -> NDArray[np.float64]:
    """The tokens after which N parameters reach a loss: Chinchilla's law, solved for D (Chapter 9).

    Args:
        loss: In nats a token: a number or an array.
        N: Parameters; an array of a shape that goes with that of the loss.
        constants: Whose.

    Returns:
        D, infinite where the model is too small ever to reach the loss.

    Raises:
        ValueError: A number is not positive and finite.
        TypeError: ``constants`` are of another law.
    """
    k = _of_kind(constants, ChinchillaConstants)
    left = positive("loss", loss) - k.E - k.A / positive("N", N) ** k.alpha  # for B / D^β
    return np.where(left > 0, (k.B / np.where(left > 0, left, 1)) ** (1 / k.beta), np.inf)


def _of_kind(constants: Any, *kinds: type) -> Any:
    if not isinstance(constants, kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"The constants must be {names}, such as HOFFMANN, but are {constants!r}.")
    return constants
