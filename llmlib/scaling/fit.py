"""Fitting Chinchilla's law to runs: its third approach, with intervals (Chapter 9)."""

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmlib.scaling.checks import positive
from llmlib.scaling.laws import ChinchillaConstants
from llmlib.scaling.robust import Array, jacobian, minimise, predict

CONSTANTS = ("E", "A", "B", "alpha", "beta")
STARTS = 16  # of the grid, those with the lowest loss
MOST_CORRELATED = 0.999
WORST_CONDITION = 1e7
LEAST_SHARE = 1e-4
RESAMPLE_TOLERANCE = 1e-8  # of the objective: some thousandths of the width of an interval


@dataclass(frozen=True, kw_only=True)
class Fit(ChinchillaConstants):
    """Constants that were fitted to runs; every function of :mod:`~llmlib.scaling.laws` takes them (Chapter 9).

    Attributes:
        samples: The constants E, A, B, α, β of each resample, (S, 5).
        residuals: ln of the measured loss, less ln of the fitted one, for each run.
    """

    samples: NDArray[np.float64] = field(repr=False)
    residuals: NDArray[np.float64] = field(repr=False)

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """The interval of a constant: the middle part of its values over the resamples.

        Args:
            name: ``"E"``, ``"A"``, ``"B"``, ``"alpha"``, ``"beta"``, or ``"a"`` or ``"b"``, the exponents of the best
                size and number of tokens.
            level: The share of resamples in it.

        Raises:
            ValueError: The name is unknown, the level is no share, or there are no resamples.
        """
        if not len(self.samples):
            raise ValueError("The fit has no resamples: fit with resamples=400 to have intervals.")
        values = dict(zip(CONSTANTS, self.samples.T, strict=True))
        values["a"] = values["beta"] / (values["alpha"] + values["beta"])
        values["b"] = 1 - values["a"]
        if name not in values:
            raise ValueError(f"There is no constant {name!r}; there are {', '.join(values)}.")
        return percentiles(values[name], level)

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of every constant, and of a and b."""
        return {name: self.interval(name) for name in (*CONSTANTS, "a", "b")}


def fit_parametric(
    N: ArrayLike,
    D: ArrayLike,
    loss: ArrayLike,
    *,
    delta: float = 1e-3,
    resamples: int = 400,
    seed: int = 0,
) -> Fit:
    """Fit L(N, D) = E + A / N^α + B / D^β to runs (Chapter 9).

    Hoffmann et al. 2022, arXiv:2203.15556, section 3.3: the least Huber loss of ln L, the best from a grid of starts.
    It is a sum over the runs; a mean is so small that an optimiser may stop too early (Besiroglu et al. 2024,
    arXiv:2404.10102). The intervals are those of the bootstrap (Efron 1979): runs are drawn with replacement, as many
    as there are, and fitted again from the optimum.

    Args:
        N: Parameters of each of R runs.
        D: Tokens of each run.
        loss: The loss at the end of each run, in nats a token.
        delta: Where Huber's loss becomes straight: residuals beyond it do not weigh more for being larger.
        resamples: S, the resamples of the bootstrap; 0 for none.
        seed: Decides the resamples.

    Returns:
        The constants, with intervals.

    Raises:
        ValueError: A number is not positive and finite, the arrays are not of one length, there are fewer than six
            different runs, or the runs do not identify the constants; the message says why.
        TypeError: The values are not numbers.
    """
    runs = [np.log(positive(name, x)) for name, x in (("N", N), ("D", D), ("loss", loss))]
    n, d, target = runs
    _check_runs(n, d, target)
    if not 0 < delta < float("inf"):
        raise ValueError(f"delta must be a number above 0, but is {delta!r}.")
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 0:
        raise ValueError(f"resamples must be a whole number of at least 0, but is {resamples!r}.")

    # Centred, a and α are hardly correlated: a is then the term's size amid the runs.
    centre_n, centre_d = n.mean(), d.mean()
    n, d = n - centre_n, d - centre_d
    starts = _starts(n, d, target)
    ends, objective, rested = minimise(starts, n, d, target, np.ones_like(n), delta)
    best = ends[[objective.argmin()]]
    _check_identified(best, n, d, bool(rested[objective.argmin()]))

    draws = np.random.default_rng(seed).multinomial(len(n), np.full(len(n), 1 / len(n)), size=resamples)
    begin = np.repeat(best, resamples, axis=0)
    again = minimise(begin, n, d, target, draws.astype(float), delta, RESAMPLE_TOLERANCE)[0]
    constants, samples = (_constants(theta, centre_n, centre_d) for theta in (best, again))
    return Fit(
        **dict(zip(CONSTANTS, constants[0].tolist(), strict=True)),
        source=f"fitted to {len(n)} runs",
        samples=samples,
        residuals=target - predict(best, n, d)[0][0],
    )


def percentiles(values: Array, level: float = 0.95) -> tuple[float, float]:
    """The bounds of the middle part of some values."""
    if not 0 < level < 1:
        raise ValueError(f"level must be a share between 0 and 1, but is {level!r}.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _constants(theta: Array, centre_n: float, centre_d: float) -> Array:
    """E, A, B, α, β of centred e, a, b, α, β."""
    e, a, b, alpha, beta = theta.T
    with np.errstate(over="ignore"):
        scales = np.exp([e, a + alpha * centre_n, b + beta * centre_d])
    return np.stack([*scales, alpha, beta], axis=-1)


def _starts(n: Array, d: Array, target: Array) -> Array:
    """The best of a grid, in which each term has different shares of the loss and falls at different rates."""
    typical = target.mean()
    shares = np.log([0.03, 0.1, 0.3, 0.6])
    rates = (0.1, 0.25, 0.5, 1.0)
    grid = [
        [target.min() + e, typical + a, typical + b, alpha, beta]
        for e, a, b, alpha, beta in itertools.product(np.log([0.1, 0.5, 0.9]), shares, shares, rates, rates)
    ]
    starts = np.array(grid)
    distance = np.abs(predict(starts, n, d)[0] - target).sum(axis=1)
    return starts[np.argsort(distance)[:STARTS]]


def _check_runs(n: Array, d: Array, target: Array) -> None:
    shapes = [array.shape for array in (n, d, target)]
    if any(array.ndim != 1 for array in (n, d, target)) or len(set(shapes)) > 1:
        raise ValueError(
            f"N, D and loss must have one value for each run, but their shapes are {shapes[0]}, {shapes[1]} and "
            f"{shapes[2]}."
        )
    runs = np.unique(np.stack([n, d]), axis=1).shape[1]
    if runs <= len(CONSTANTS):
        raise ValueError(
            f"Five constants need at least six different runs, but there are {runs}: train more sizes, each at "
            "several budgets."
        )
    for name, values in (("N", n), ("D", d)):
        if len(np.unique(values)) < 3:
            raise ValueError(
                f"The runs do not identify the constants: {name} has only {len(np.unique(values))} different values, "
                "and a power law above a floor takes three. Train more of them."
            )
    correlation = np.corrcoef(n, d)[0, 1]
    if abs(correlation) > MOST_CORRELATED:
        raise ValueError(
            f"The runs do not identify the constants: ln N and ln D lie on a line (correlation {correlation:.4f}), "
            "so what a larger model gains cannot be told from what more tokens give. Train each size at several D."
        )


def _check_identified(best: Array, n: Array, d: Array, rested: bool) -> None:
    """Refuse an optimum that the runs do not determine."""
    shares = predict(best, n, d)[1]
    slopes = jacobian(shares, n, d)[0]
    condition = np.linalg.cond(slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-300))
    alpha, beta = best[0, 3:]
    reasons = [
        (f"the term {term} makes up at most {share:.1g} of the loss of any run")
        for term, share in zip(("E", "A / N^α", "B / D^β"), shares.max(axis=(1, 2)), strict=True)
        if share < LEAST_SHARE
    ]
    if alpha <= 0 or beta <= 0:
        reasons.append(f"the exponents are α = {alpha:.3g} and β = {beta:.3g}: the loss does not fall")
    if not condition < WORST_CONDITION:
        reasons.append(f"other constants fit as well (the condition number is {condition:.1g})")
    if not rested:
        reasons.append("the fit goes on without end")
    if reasons:
        raise ValueError(
            f"The runs do not identify the constants: {'; '.join(reasons)}. Take runs over a wider range of N and D."
        )
