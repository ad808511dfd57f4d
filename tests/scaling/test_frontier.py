"""Approaches 1 and 2: on a known law they find its exponents, and they say where the runs show no best size."""

import numpy as np
import pytest

from llmlib.scaling import HOFFMANN, chinchilla, envelope, isoflops, optimal

BUDGETS = np.geomspace(1e18, 1e21, 6)


def sweep(spread: float, sizes: int = 9, noise: float = 0.0) -> tuple[np.ndarray, ...]:
    """At each budget, sizes around the best one, up to ``spread`` times as small and as large."""
    C = np.repeat(BUDGETS, sizes)
    N = optimal(C).N * np.tile(np.geomspace(1 / spread, spread, sizes), len(BUDGETS))
    D = C / (6 * N)
    return C, N, D, chinchilla(N, D) * np.exp(np.random.default_rng(0).normal(scale=noise, size=C.shape))


def test_parabolas_find_the_best_sizes():
    found = isoflops(*sweep(spread=1.5))
    best = optimal(BUDGETS)
    assert pytest.approx(BUDGETS) == found.C
    # A parabola is not quite the law: its bottom is near, and its exponents are nearer.
    assert pytest.approx(best.N, rel=0.02) == found.N
    assert pytest.approx(best.D, rel=0.02) == found.D
    assert found.loss == pytest.approx(best.loss, rel=1e-4)
    assert found.a == pytest.approx(HOFFMANN.a, abs=1e-3)
    assert found.b == pytest.approx(HOFFMANN.b, abs=1e-3)
    assert found.size_at(1e22) == pytest.approx(optimal(1e22).N, rel=0.03)


def test_an_exact_parabola_by_hand():
    """Loss 2 + (ln N − ln N*)², with N* = 10, 100 and 1000 for budgets of 1, 10^2 and 10^4: so a = 1/2."""
    C = np.repeat([1.0, 1e2, 1e4], 5)
    centres = np.repeat([1e1, 1e2, 1e3], 5)
    N = centres * np.tile([0.5, 0.8, 1.1, 1.7, 2.5], 3)
    found = isoflops(C, N, C / N, 2 + np.log(N / centres) ** 2, resamples=0)
    assert pytest.approx([10, 100, 1000]) == found.N
    assert pytest.approx([0.1, 1, 10]) == found.D
    assert found.loss == pytest.approx([2, 2, 2])
    assert (found.a, found.b) == pytest.approx((0.5, 0.5))


def test_intervals_hold_the_exponent_and_narrow_with_the_noise():
    wide, narrow = (isoflops(*sweep(spread=4, noise=noise)).interval("a") for noise in (0.01, 0.001))
    assert wide[0] < HOFFMANN.a < wide[1]
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0]) > 0


def test_a_budget_without_a_bottom_is_left_out():
    C, N, D, loss = sweep(spread=3)
    small = (BUDGETS[0] < C) | (N < 0.9 * optimal(C).N)  # at the first budget only sizes that are too small
    found = isoflops(*(x[small] for x in (C, N, D, loss)))
    assert pytest.approx(BUDGETS[1:]) == found.C
    one_sided = N < 0.9 * optimal(C).N
    with pytest.raises(
        ValueError, match="Only 0 of 6 budgets have a size between the smallest and the largest"
    ):
        isoflops(*(x[one_sided] for x in (C, N, D, loss)))
    with pytest.raises(ValueError, match="Only 0 of 1 budgets"):
        isoflops([1e18] * 2, [1e6, 1e7], [1e10, 1e9], [3.0, 2.9])


def curves(sizes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Training curves that obey the law at every point."""
    tokens = [size * np.geomspace(0.1, 2000, 80) for size in sizes]
    return [(6 * N * D, D, chinchilla(N, D)) for N, D in zip(sizes, tokens, strict=True)]


def test_the_envelope_finds_the_exponents():
    sizes = np.geomspace(1e7, 1e10, 25)
    found = envelope(sizes, curves(sizes))
    step = sizes[1] / sizes[0]
    ratio = found.N / optimal(found.C).N
    assert (ratio < step**0.6).all()  # the nearest size that was trained
    assert (ratio > step**-0.6).all()
    assert found.loss == pytest.approx(optimal(found.C).loss, rel=2e-3)
    assert found.a == pytest.approx(HOFFMANN.a, abs=0.01)
    assert found.a + found.b == pytest.approx(1, abs=1e-6)
    low, high = found.interval("a")
    assert low < HOFFMANN.a < high


def test_the_envelope_leaves_out_what_nobody_tried():
    sizes = np.geomspace(1e8, 1e9, 9)
    found = envelope(sizes, curves(sizes))
    best = optimal(found.C).N
    assert found.C.size < 40
    assert (best > 1e8).all()
    assert (best < 1e9).all()
    with pytest.raises(ValueError, match="Only at 0 of 40 budgets"):
        envelope(sizes[:2], curves(sizes[:2]))


def test_mistakes_are_refused():
    C, N, D, loss = sweep(spread=3)
    with pytest.raises(ValueError, match="loss must be above 0 and finite, but 1 of 54"):
        isoflops(C, N, D, np.where(C[0] == C, loss, loss) * np.where(np.arange(54) == 5, np.nan, 1))
    with pytest.raises(
        ValueError, match=r"one value for each run or point, but the shapes are C \(54,\), N \(53,\)"
    ):
        isoflops(C, N[1:], D, loss)
    sizes = np.geomspace(1e7, 1e9, 5)
    with pytest.raises(ValueError, match="Each run needs its N and its curve, but there are 4 and 5"):
        envelope(sizes[1:], curves(sizes))
    backwards = [tuple(x[::-1] for x in curve) for curve in curves(sizes)]
    with pytest.raises(ValueError, match="in the order of its training"):
        envelope(sizes, backwards)
    found = isoflops(C, N, D, loss, resamples=0)
    with pytest.raises(ValueError, match="There is no exponent 'c'; there are a and b"):
        found.interval("c")
    with pytest.raises(ValueError, match="There are no resamples"):
        found.interval("a")
    with pytest.raises(ValueError, match="C must be above 0"):
        found.size_at(0)
