"""Least Huber loss of the logarithm of Chinchilla's law, for many starts and many resamples at once (Chapter 9).

With e = ln E, a = ln A and b = ln B the law is ln L = ln(exp(e) + exp(a − α ln N) + exp(b − β ln D)), so every constant
but the exponents may be any number. Hoffmann et al. 2022 (arXiv:2203.15556, eq. 3) look for the minimum by L-BFGS.
The sum has five unknowns, so damped Gauss–Newton steps (Levenberg–Marquardt) with Huber's weights get there in some
ten or twenty steps, and NumPy takes them for all problems together. The minimum is the same.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STEPS = 400
SETTLED = 3


def predict(theta: Array, n: Array, d: Array) -> tuple[Array, Array]:
    """The logarithm of the loss, and the share of each term in the loss.

    Args:
        theta: e, a, b, α, β of each of S problems, (S, 5).
        n: ln N of R runs, (R,).
        d: ln D of the runs, (R,).

    Returns:
        ln L, (S, R), and the shares of E, A / N^α and B / D^β, (3, S, R).
    """
    e, a, b, alpha, beta = theta.T[:, :, None]
    terms = np.stack(np.broadcast_arrays(e, a - alpha * n, b - beta * d))
    largest = terms.max(axis=0)
    parts = np.exp(terms - largest)
    total = parts.sum(axis=0)
    return largest + np.log(total), parts / total


def jacobian(shares: Array, n: Array, d: Array) -> Array:
    """The derivative of ln L by e, a, b, α, β: (S, R, 5)."""
    of_e, of_a, of_b = shares
    return np.stack([of_e, of_a, of_b, -n * of_a, -d * of_b], axis=-1)


def huber(residuals: Array, weights: Array, delta: float) -> Array:
    """The sum of Huber's loss over the last axis: quadratic up to ``delta``, beyond it straight."""
    size = np.abs(residuals)
    quadratic = np.minimum(size, delta)
    return (weights * quadratic * (size - quadratic / 2)).sum(axis=-1)


def minimise(
    theta: Array, n: Array, d: Array, target: Array, weights: Array, delta: float, tolerance: float = 1e-11
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Minimise Huber's loss of ln L − target, from each start.

    Args:
        theta: Where S problems start, (S, 5).
        n: ln N of R runs, (R,).
        d: ln D of the runs, (R,).
        target: The logarithm of the measured loss, (R,).
        weights: How often each run counts, (S, R) or (R,).
        delta: Where Huber's loss becomes straight.
        tolerance: A problem rests when three steps in a row lower its objective by no more than this share.

    Returns:
        The constants (S, 5), their objective (S,), and which problems came to rest (S,).
    """
    ends, objectives = theta.copy(), np.empty(len(theta))
    rested = np.zeros(len(theta), dtype=bool)
    moving: NDArray[np.int_] = np.arange(len(theta))
    weights = np.broadcast_to(weights, (len(theta), len(n)))
    predicted, shares = predict(theta, n, d)
    residuals = predicted - target
    objective = huber(residuals, weights, delta)
    damping: Array = np.full(len(theta), 1e-2)
    quiet: NDArray[np.int_] = np.zeros(len(theta), dtype=int)
    for _ in range(STEPS):
        trial = theta + _step(residuals, jacobian(shares, n, d), weights, delta, damping)
        predicted, trial_shares = predict(trial, n, d)
        trial_residuals = predicted - target
        reached = huber(trial_residuals, weights, delta)
        better = reached < objective
        gain = np.where(better, objective - reached, 0)
        quiet = np.where(gain > tolerance * objective, 0, quiet + 1)
        theta, residuals = (
            np.where(better[:, None], new, old) for new, old in ((trial, theta), (trial_residuals, residuals))
        )
        shares = np.where(better[:, None], trial_shares, shares)
        objective = objective - gain
        damping = np.clip(damping * np.where(better, 0.1, 10), 1e-12, 1e12)

        ends[moving], objectives[moving] = theta, objective
        rested[moving] = quiet >= SETTLED
        on = quiet < SETTLED
        if not on.any():
            break
        if not on.all():  # what has come to rest costs nothing more
            theta, residuals, weights, objective, damping = (
                array[on] for array in (theta, residuals, weights, objective, damping)
            )
            moving, quiet, shares = moving[on], quiet[on], shares[:, on]
    return ends, objectives, rested


def _step(residuals: Array, slopes: Array, weights: Array, delta: float, damping: Array) -> Array:
    """One damped Gauss–Newton step: a residual beyond ``delta`` weighs as much less as it is larger."""
    pull = weights * np.minimum(1, delta / np.maximum(np.abs(residuals), delta))
    weighted = (slopes * pull[:, :, None]).swapaxes(1, 2)
    gradient = weighted @ residuals[:, :, None]
    curvature = weighted @ slopes
    diagonal = np.einsum("sii->si", curvature)
    # A constant that no run feels has no curvature of its own; then it stays where it is.
    ridge = damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300
    return -np.linalg.solve(curvature + ridge[:, :, None] * np.eye(5), gradient)[:, :, 0]
