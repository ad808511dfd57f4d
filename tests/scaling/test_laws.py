"""The laws against calculations with 50 digits, and against the numbers that the papers print."""

import mpmath
import numpy as np
import pytest
import torch

from llmlib.scaling import (
    BESIROGLU,
    HOFFMANN,
    HOFFMANN_ROUNDED,
    KAPLAN,
    KAPLAN_JOINT,
    PUBLISHED,
    ChinchillaConstants,
    cheapest,
    chinchilla,
    effective_tokens,
    kaplan,
    optimal,
    tokens_for,
)

CHINCHILLA = (HOFFMANN, HOFFMANN_ROUNDED, BESIROGLU, ChinchillaConstants(0.9, 30.0, 80.0, 0.5, 0.21))
GOPHER_BUDGET = 5.76e23


@pytest.mark.parametrize("constants", CHINCHILLA)
@pytest.mark.parametrize("budget", [1e12, 1e20, 1e26])
def test_the_optimum_is_where_the_derivative_vanishes(constants, budget):
    """mpmath finds the root of the derivative of L(N, C / 6N) by ln N, which knows nothing of the closed form."""
    with mpmath.workdps(50):
        E, A, B, alpha, beta = (
            mpmath.mpf(getattr(constants, name)) for name in ("E", "A", "B", "alpha", "beta")
        )

        def loss(x):
            return E + A / mpmath.exp(x) ** alpha + B / (budget / 6 / mpmath.exp(x)) ** beta

        root = mpmath.findroot(lambda x: mpmath.diff(loss, x), mpmath.log(budget / 120) / 2)
        expected = float(mpmath.exp(root)), float(loss(root))
    best = optimal(budget, constants)
    assert (float(best.N), float(best.loss)) == pytest.approx(expected, rel=1e-12)
    assert pytest.approx(budget, rel=1e-12) == 6 * best.N * best.D


def test_exponents_of_the_papers():
    assert (round(HOFFMANN.a, 2), round(HOFFMANN.b, 2)) == (0.46, 0.54)  # table 2, approach 3
    assert round(HOFFMANN_ROUNDED.a, 3) == 0.452
    assert round(BESIROGLU.a, 3) == 0.513
    for constants in CHINCHILLA:
        low, high = optimal([1e20, 1e22], constants).N
        assert np.log(high / low) / np.log(100) == pytest.approx(constants.a)


# Table A3 of arXiv:2203.15556, approach 3: parameters and FLOPs at which they are the best size. The paper prints
# 1.26e24 for 175 billion, but its 12.0 trillion tokens are 1.26e25 FLOPs.
TABLE_A3 = {4e8: 2.21e19, 1e9: 1.62e20, 1e10: 2.46e22, 6.7e10: 1.71e24, 1.75e11: 1.26e25, 1e13: 8.55e28}


def budgets_of(constants):
    """The budget for which each size of the table is the best, found by interpolation, and not by a formula."""
    C = np.geomspace(1e18, 1e30, 4001)
    return np.exp(np.interp(np.log(list(TABLE_A3)), np.log(optimal(C, constants).N), np.log(C)))


def test_the_table_of_hoffmann_et_al_is_not_that_of_their_constants():
    ratios = {
        name: budgets_of(constants) / list(TABLE_A3.values())
        for name, constants in {"unrounded": HOFFMANN, "rounded": HOFFMANN_ROUNDED}.items()
    }
    # The unrounded constants come near, the rounded ones are off by half to more than double.
    assert (ratios["unrounded"] > 1.02).all()
    assert (ratios["unrounded"] < 1.2).all()
    assert (ratios["rounded"] > 1.5).all()
    assert ratios["rounded"].max() > 2.2


def test_rounding_moves_the_best_size_of_chinchillas_budget():
    sizes = [optimal(GOPHER_BUDGET, constants).N for constants in (HOFFMANN, HOFFMANN_ROUNDED)]
    assert sizes[0] == pytest.approx(40.4e9, rel=1e-3)
    assert sizes[1] == pytest.approx(32.2e9, rel=1e-3)
    refitted = optimal(GOPHER_BUDGET, BESIROGLU)
    assert pytest.approx(70e9, rel=0.05) == refitted.N
    assert pytest.approx(20, rel=0.1) == refitted.D / refitted.N  # as Chinchilla itself has it


def test_kaplans_laws():
    """Numbers of arXiv:2001.08361, and what Hoffmann et al. (appendix D.4) compute from it: 4.68 billion at 1e21."""
    assert pytest.approx(4.68e9, rel=2e-3) == optimal(1e21, KAPLAN).N
    assert pytest.approx(1e21 / 6 / 4.68e9, rel=2e-3) == optimal(1e21, KAPLAN).D
    assert kaplan(8.8e13, np.inf, KAPLAN) == 1.0
    assert kaplan(np.inf, 5.4e13, KAPLAN) == 1.0
    assert kaplan(1e9, np.inf, KAPLAN) == pytest.approx((8.8e13 / 1e9) ** 0.076)
    assert kaplan(np.inf, 1e9, KAPLAN) == pytest.approx((5.4e13 / 1e9) ** 0.095)
    # Section 4.2: to overfit by no more than about 0.02 nats needs D ≥ 5·10³ N^0.74 tokens.
    for size in (1e7, 1e8, 1e9):
        excess = kaplan(size, 5e3 * size**0.74) / kaplan(size, np.inf) - 1
        assert 0.005 < excess < 0.03
    ten = optimal([1e20, 1e21], KAPLAN)
    # "5.5 times as large" for ten times the budget.
    assert ten.N[1] / ten.N[0] == pytest.approx(5.37, rel=1e-2)
    assert ten.loss[0] / ten.loss[1] == pytest.approx(10**0.05)


def test_numbers_and_arrays():
    N, D = np.array([1e8, 1e9])[:, None], np.array([1e10, 1e11, 1e12])
    table = chinchilla(N, D, BESIROGLU)
    assert table.shape == (2, 3)
    assert table[1, 2] == chinchilla(1e9, 1e12, BESIROGLU)
    assert float(table[0, 0]) == pytest.approx(1.8172 + 482.01 / 1e8**0.3478 + 2085.43 / 1e10**0.3658)
    assert kaplan(N, D, KAPLAN_JOINT).shape == (2, 3)


def test_tokens_for_a_loss_are_the_inverse():
    sizes = np.geomspace(1e8, 1e12, 9)
    assert tokens_for(chinchilla(sizes, 3e11), sizes) == pytest.approx(np.full(9, 3e11))
    floor = HOFFMANN.E + HOFFMANN.A / 1e9**HOFFMANN.alpha
    assert tokens_for([floor - 1e-9, floor - 0.01], 1e9).tolist() == [np.inf, np.inf]
    assert np.isfinite(tokens_for(floor + 1e-3, 1e9))


@pytest.mark.parametrize("served", [0.0, 1e12, 1e14])
@pytest.mark.parametrize("constants", CHINCHILLA[:3])
def test_the_cheapest_model_is_that_of_a_fine_search(served, constants):
    loss = float(optimal(1e23, constants).loss)
    found = cheapest(loss, served, constants)
    sizes = float(found.N) * np.exp(np.linspace(-0.5, 0.5, 100_001))
    costs = 6 * sizes * tokens_for(loss, sizes, constants) + 2 * sizes * served
    assert float(found.N) == pytest.approx(sizes[costs.argmin()], rel=2e-4)  # 1e-5 apart, at a flat bottom
    assert found.loss == pytest.approx(loss)
    if not served:
        assert float(found.N) == pytest.approx(float(optimal(1e23, constants).N), rel=1e-9)


def test_repeated_text():
    """Against the sum of what each repetition adds, and the words of arXiv:2305.16264 on four epochs."""
    assert effective_tokens([0.5, 1.0], 1.0).tolist() == [0.5, 1.0]
    # A thousandth of a repetition at a time.
    each = np.exp(-(np.arange(4000) + 0.5) / 1000 / 15.387756) / 1000
    assert effective_tokens(5.0, 1.0) == pytest.approx(1 + each.sum(), rel=1e-6)
    assert 0.92 < effective_tokens(4.0, 1.0) / 4 < 0.95
    assert effective_tokens(1e6, 1.0) == pytest.approx(16.387756)


def test_published_models_by_hand():
    models = {model.name: model for model in PUBLISHED}
    assert pytest.approx(3.15e23) == models["GPT-3"].C
    assert models["Chinchilla"].tokens_per_parameter == 20
    assert models["Llama 3 8B"].tokens_per_parameter == 1875
    assert pytest.approx(3.8e25, rel=0.01) == models["Llama 3.1 405B"].C  # the paper's own figure
    assert all(model.source for model in PUBLISHED)


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), [1e9, -1]])
def test_what_no_run_can_have_is_refused(bad):
    for call in (
        lambda: chinchilla(bad, 1e9),
        lambda: chinchilla(1e9, bad),
        lambda: optimal(bad),
        lambda: tokens_for(bad, 1e9),
        lambda: cheapest(bad, 0),
        lambda: effective_tokens(bad, 1e9),
    ):
        with pytest.raises(ValueError, match=r"must be above 0 and finite, but 1 of \d values are not"):
            call()
    if bad != float("inf"):
        with pytest.raises(ValueError, match="N must be above 0, but"):
            kaplan(bad, 1e9)


def test_other_mistakes_are_refused():
    with pytest.raises(TypeError, match="N must be a number or an array of numbers, but is 'many'"):
        chinchilla("many", 1e9)
    with pytest.raises(TypeError, match="must be ChinchillaConstants, such as HOFFMANN, but are KaplanConst"):
        chinchilla(1e9, 1e9, KAPLAN)
    with pytest.raises(TypeError, match="must be KaplanConstants"):
        kaplan(1e9, 1e9, HOFFMANN)
    with pytest.raises(TypeError, match="ChinchillaConstants or KaplanConstants"):
        optimal(1e20, (1, 2, 3))
    with pytest.raises(ValueError, match=r"No model has a loss of 1.5: .* E = 1.69"):
        cheapest(1.5, 0)
    with pytest.raises(ValueError, match="served must be a number of tokens, 0 or more, but is -1"):
        cheapest(2.0, -1)


def test_tensors_are_numbers_too():
    assert chinchilla(torch.tensor([1e8, 1e9]), 1e10).shape == (2,)
