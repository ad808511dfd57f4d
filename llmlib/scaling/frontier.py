"""The best size for each budget, read off the runs without a law: Chinchilla's first two approaches (Chapter 9)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlib.scaling.checks import positive
from llmlib.scaling.fit import percentiles
from llmlib.scaling.robust import Array


@dataclass(frozen=True)
class Frontier:
    """The best size and number of tokens for some budgets, and the power laws through them (Chapter 9).

    Attributes:
        C: The K budgets, in FLOPs, (K,).
        N: The best number of parameters at each, (K,).
        D: The best number of tokens at each, (K,).
        loss: The lowest loss at each, in nats a token, (K,).
        a: The exponent in N ∝ C^a.
        b: The exponent in D ∝ C^b.
        samples: a and b of each resample, (S, 2).
    """

    C: NDArray[np.float64]
    N: NDArray[np.float64]
    D: NDArray[np.float64]
    loss: NDArray[np.float64]
    a: float
    b: float
    samples: NDArray[np.float64] = field(repr=False)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The interval of ``"a"`` or ``"b"``: the middle part of its values over the resamples.

        Raises:
            ValueError: The name is another, the level is no share, or there are too few resamples.
        """
        if name not in ("a", "b"):
            raise ValueError(f"There is no exponent {name!r}; there are a and b.")
        if len(self.samples) < 2:
            raise ValueError("There are no resamples from which the frontier could be had: take more runs.")
        return percentiles(self.samples[:, "ab".index(name)], level)

    def size_at(self, C: ArrayLike) -> NDArray[np.float64]:
        """The best number of parameters for a budget, by the power law.

        Args:
            C: FLOPs: a number or an array.

        Raises:
            ValueError: A budget is not positive and finite.
        """
        return np.exp(np.log(self.N).mean() + self.a * (np.log(positive("C", C)) - np.log(self.C).mean()))


def isoflops(
    C: ArrayLike,
    N: ArrayLike,
    D: ArrayLike,
    loss: ArrayLike,
    *,
    resamples: int = 400,
    seed: int = 0,
) -> Frontier:
    """Approach 2: at each budget, the bottom of a parabola through the losses of several sizes (Chapter 9).

    Hoffmann et al. 2022, arXiv:2203.15556, section 3.2: the loss against ln N, and likewise against ln D. A budget at
    which the lowest loss is that of the smallest or the largest size says only where the best size is not, and is left
    out. A resample draws the runs of each budget with replacement.

    Args:
        C: The budget of each of R runs, in FLOPs. Runs of the same number belong together.
        N: The parameters of each run.
        D: The tokens of each run.
        loss: The loss at the end of each run, in nats a token.
        resamples: S, the resamples of the bootstrap; 0 for none.
        seed: Decides the resamples.

    Returns:
        The frontier at the budgets that have a bottom.

    Raises:
        ValueError: A number is not positive and finite, the arrays are not of one length, or fewer than two budgets
            have a bottom.
        TypeError: The values are not numbers.
    """
    runs = _runs(C=C, N=N, D=D, loss=loss)
    budgets, group = np.unique(runs[0], return_inverse=True)
    groups = [runs[1:, group == k] for k in range(len(budgets))]
    bottoms = np.array([_bottom(*runs_of_budget) for runs_of_budget in groups])
    found = np.isfinite(bottoms[:, 0])
    if found.sum() < 2:
        raise ValueError(
            f"Only {found.sum()} of {len(budgets)} budgets have a size between the smallest and the largest with the "
            "lowest loss, and an exponent takes two: train at each budget at least three sizes, from too small to too "
            "large."
        )
    generator = np.random.default_rng(seed)
    samples = []
    for _ in range(resamples):
        again = np.array([_bottom(*x[:, generator.integers(x.shape[1], size=x.shape[1])]) for x in groups])
        samples.append(_exponents(budgets, again))
    return _frontier(budgets[found], bottoms[found], np.array(samples).reshape(-1, 2))


def envelope(
    N: Sequence[float],
    curves: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    budgets: int = 40,
    resamples: int = 400,
    seed: int = 0,
) -> Frontier:
    """Approach 1: at each budget, the run whose training curve is lowest there (Chapter 9).

    Hoffmann et al. 2022, arXiv:2203.15556, section 3.1. Between its points a curve is a straight line in ln C. Budgets
    at which fewer than two sizes have a curve are left out, and so are those where the smallest or the largest of them
    is the best: nobody tried what lies beyond. A resample draws runs with replacement.

    Args:
        N: The parameters of each of R runs.
        curves: For each run, points of its training: FLOPs spent, tokens seen and the (smoothed) loss, each a list.
        budgets: K, how many budgets are looked at, spread evenly over the logarithm.
        resamples: S, the resamples of the bootstrap; 0 for none.
        seed: Decides the resamples.

    Returns:
        The frontier at the budgets that are left.

    Raises:
        ValueError: A number is not positive and finite, curves and sizes are not of one number, a curve does not
            advance, or fewer than two budgets are left.
        TypeError: The values are not numbers.
    """
    sizes = positive("N", N)
    if sizes.ndim != 1 or len(sizes) != len(curves):
        raise ValueError(f"Each run needs its N and its curve, but there are {sizes.size} and {len(curves)}.")
    points = [_runs(C=C, D=D, loss=loss) for C, D, loss in curves]
    if any((np.diff(curve[0]) <= 0).any() for curve in points):
        raise ValueError("The points of a curve must be in the order of its training, each with more FLOPs.")
    C = np.geomspace(min(c[0, 0] for c in points), max(c[0, -1] for c in points), budgets)
    losses, tokens = (
        np.stack(
            [np.interp(np.log(C), np.log(c[0]), np.log(c[i]), left=np.nan, right=np.nan) for c in points]
        )
        for i in (2, 1)
    )
    everyone = np.arange(len(sizes))
    lowest = _lowest(everyone, sizes, losses, tokens)
    found = np.isfinite(lowest[:, 0])
    if found.sum() < 2:
        raise ValueError(
            f"Only at {found.sum()} of {budgets} budgets is a size the best that is neither the smallest nor the "
            "largest: take more sizes, and curves that overlap."
        )
    generator = np.random.default_rng(seed)
    samples = [
        _exponents(C, _lowest(generator.choice(everyone, len(everyone)), sizes, losses, tokens))
        for _ in range(resamples)
    ]
    return _frontier(C[found], lowest[found], np.array(samples).reshape(-1, 2))


def _runs(**columns: ArrayLike) -> Array:
    """Columns of one length as rows of an array, checked."""
    arrays = [positive(name, values) for name, values in columns.items()]
    if any(array.ndim != 1 for array in arrays) or len({len(array) for array in arrays}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(columns, arrays, strict=True))
        raise ValueError(f"There must be one value for each run or point, but the shapes are {shapes}.")
    return np.stack(arrays)


def _bottom(N: Array, D: Array, loss: Array) -> list[float]:
    """Ln N, ln D and ln loss at the bottom of a parabola; NaN where the runs do not enclose one."""
    nothing = [float("nan")] * 3
    if len(np.unique(N)) < 3 or N[loss.argmin()] in (N.min(), N.max()):
        return nothing
    places = []
    for x in (np.log(N), np.log(D)):
        bend, slope, _ = np.polyfit(x - x.mean(), loss, 2)
        place = x.mean() - slope / (2 * bend)
        if bend <= 0 or not x.min() <= place <= x.max():
            return nothing  # a bottom that nobody tried was not seen
        places.append(place)
    height = np.polyval(np.polyfit(np.log(N) - places[0], loss, 2), 0)
    return [*places, float(np.log(height))]


def _lowest(chosen: NDArray[np.int_], sizes: Array, losses: Array, tokens: Array) -> Array:
    """Ln N, ln D and ln loss of the lowest curve at each budget, (K, 3); NaN where it is at the edge of the sizes."""
    table = np.full((losses.shape[1], 3), np.nan)
    for k in range(len(table)):
        there = chosen[np.isfinite(losses[chosen, k])]
        if not len(there):
            continue
        best = there[losses[there, k].argmin()]
        if sizes[there].min() < sizes[best] < sizes[there].max():
            table[k] = np.log(sizes[best]), tokens[best, k], losses[best, k]
    return table


def _exponents(C: Array, table: Array) -> tuple[float, float]:
    """A and b of the power laws through the budgets that have a best size; NaN where they are too few."""
    found = np.isfinite(table[:, 0])
    if found.sum() < 2:
        return float("nan"), float("nan")
    a, b = np.polyfit(np.log(C[found]), table[found, :2], 1)[0]
    return float(a), float(b)


def _frontier(C: Array, table: Array, samples: Array) -> Frontier:
    a, b = _exponents(C, table)
    size, tokens, loss = np.exp(table.T)
    return Frontier(C, size, tokens, loss, a, b, samples[np.isfinite(samples).all(axis=1)])
