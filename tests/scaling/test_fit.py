"""The parametric fit: known constants, PyTorch's L-BFGS on the same objective, coverage, and runs that say little."""

import itertools

import numpy as np
import pytest
import torch

from llmlib.scaling import BESIROGLU, HOFFMANN, ChinchillaConstants, chinchilla, fit_parametric, optimal

NAMES = ("E", "A", "B", "alpha", "beta")
TINY = ChinchillaConstants(E=0.9, A=25.0, B=60.0, alpha=0.42, beta=0.31)


def runs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and tokens as in the paper: 50 million to 16 billion parameters, 1 to 500 billion tokens."""
    generator = np.random.default_rng(seed)
    return 10 ** generator.uniform(7.7, 10.2, count), 10 ** generator.uniform(9, 11.7, count)


@pytest.mark.parametrize("constants", [HOFFMANN, BESIROGLU, TINY])
@pytest.mark.parametrize("grid", [3, 8])
def test_without_noise_the_constants_come_back(constants, grid):
    sizes, tokens = (10 ** np.linspace(*span, grid) for span in ((4, 6), (5, 7)))
    if constants is not TINY:
        sizes, tokens = sizes * 1e4, tokens * 1e4
    N, D = np.array(list(itertools.product(sizes, tokens))).T
    fit = fit_parametric(N, D, chinchilla(N, D, constants), resamples=0)
    for name in NAMES:
        assert getattr(fit, name) == pytest.approx(getattr(constants, name), rel=1e-6)
    assert np.abs(fit.residuals).max() < 1e-9
    assert pytest.approx(optimal(1e20, constants).N, rel=1e-5) == optimal(1e20, fit).N


@pytest.mark.parametrize("noise", [0.003, 0.03])
def test_no_lower_objective_is_found_by_lbfgs(noise):
    """PyTorch's L-BFGS and its Huber loss, from the truth and from other starts, with gradients by autograd."""
    N, D = runs(80, seed=1)
    loss = chinchilla(N, D, BESIROGLU) * np.exp(noise * np.random.default_rng(2).standard_t(3, size=80))
    n, d, target = (torch.tensor(np.log(x)) for x in (N, D, loss))

    def objective(theta):
        e, a, b, alpha, beta = theta
        terms = torch.stack([e.expand(80), a - alpha * (n - n.mean()), b - beta * (d - d.mean())])
        return torch.nn.functional.huber_loss(terms.logsumexp(0), target, delta=1e-3, reduction="sum")

    def centred(k):
        a, b = np.log(k.A) - k.alpha * n.mean(), np.log(k.B) - k.beta * d.mean()
        return torch.tensor([np.log(k.E), a, b, k.alpha, k.beta])

    def lowest(start):
        theta = start.clone().requires_grad_()
        search = torch.optim.LBFGS(
            [theta],
            max_iter=2000,
            line_search_fn="strong_wolfe",
            tolerance_grad=1e-12,
            tolerance_change=1e-14,
        )

        def closure():
            search.zero_grad()
            value = objective(theta)
            value.backward()
            return value

        search.step(closure)
        return objective(theta).item()

    fit = fit_parametric(N, D, loss, resamples=0)
    ours = float(objective(centred(fit)))
    starts = [centred(BESIROGLU), centred(fit), torch.tensor([0.5, -1.0, -1.0, 0.5, 0.5]).double()]
    found = [lowest(start) for start in starts]
    assert ours <= min(found) * (1 + 1e-6)
    assert ours == pytest.approx(min(found), rel=1e-4)


def test_intervals_hold_the_truth():
    """With noise of 1 % in the loss, which gives exponents a standard error of 0.02, as Besiroglu et al. have it."""
    hits = dict.fromkeys((*NAMES, "a", "b"), 0)
    for draw in range(100):
        N, D = runs(120, seed=draw)
        noise = np.random.default_rng(1000 + draw).normal(scale=0.01, size=120)
        fit = fit_parametric(N, D, chinchilla(N, D, HOFFMANN) * np.exp(noise), resamples=100, seed=draw)
        for name in hits:
            low, high = fit.interval(name)
            hits[name] += low <= getattr(HOFFMANN, name) <= high
    assert min(hits.values()) >= 90, hits


def test_a_few_wild_runs_change_little():
    N, D = runs(60, seed=3)
    loss = chinchilla(N, D, HOFFMANN)
    wild = loss.copy()
    wild[:5] *= 1.5
    assert fit_parametric(N, D, wild, resamples=0).alpha == pytest.approx(HOFFMANN.alpha, rel=0.03)
    # Where the loss is quadratic everywhere, the same runs pull it far away.
    assert abs(fit_parametric(N, D, wild, delta=1e3, resamples=0).alpha / HOFFMANN.alpha - 1) > 0.1


def test_intervals_are_quantiles_of_the_resamples():
    N, D = runs(40, seed=4)
    loss = chinchilla(N, D) * np.exp(np.random.default_rng(5).normal(scale=0.005, size=40))
    fit, again = (fit_parametric(N, D, loss, resamples=30, seed=7) for _ in range(2))
    assert fit.samples.shape == (30, 5)
    assert (fit.samples == again.samples).all()
    assert fit.interval("beta", 0.5) == tuple(np.quantile(fit.samples[:, 4], [0.25, 0.75]))
    a, b = fit.intervals["a"], fit.intervals["b"]
    assert (a[0] + b[1], a[1] + b[0]) == pytest.approx((1, 1))
    for call, message in (
        (lambda: fit.interval("gamma"), "There is no constant 'gamma'; there are E, A, B, alpha, beta, a, b"),
        (lambda: fit.interval("a", 95), "level must be a share between 0 and 1, but is 95"),
        (lambda: fit_parametric(N, D, loss, resamples=0).interval("a"), "The fit has no resamples"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_resample_is_a_fit_of_the_runs_drawn():
    """A resample whose draw we know: that of the same generator, fitted on its own from the grid."""
    N, D = runs(30, seed=6)
    loss = chinchilla(N, D) * np.exp(np.random.default_rng(8).normal(scale=0.003, size=30))
    fit = fit_parametric(N, D, loss, resamples=1, seed=9)
    drawn = np.repeat(np.arange(30), np.random.default_rng(9).multinomial(30, np.full(30, 1 / 30)))
    alone = fit_parametric(N[drawn], D[drawn], loss[drawn], resamples=0)
    assert fit.samples[0] == pytest.approx([getattr(alone, name) for name in NAMES], rel=1e-2)


GRID = np.array(list(itertools.product(np.geomspace(1e4, 1e6, 5), np.geomspace(1e5, 1e7, 5)))).T


def refusal(N, D, loss, **options) -> str:
    with pytest.raises(ValueError, match=r".") as refused:
        fit_parametric(N, D, loss, resamples=0, **options)
    return str(refused.value)


def test_runs_that_do_not_identify_the_constants_are_refused():
    N, D = GRID
    few = chinchilla(N[:5], D[:5], TINY)
    assert "at least six different runs, but there are 5" in refusal(N[:5], D[:5], few)
    assert "there are 5" in refusal(*(np.tile(x[:5], 4) for x in (N, D)), np.tile(few, 4))
    two = np.isin(N, np.unique(N)[:2])
    assert "N has only 2 different values" in refusal(N[two], D[two], chinchilla(N[two], D[two], TINY))
    sizes = np.geomspace(1e4, 1e6, 12)
    assert "D has only 1 different values" in refusal(sizes, np.full(12, 1e6), chinchilla(sizes, 1e6, TINY))
    for tokens in (20 * sizes, 1e12 / sizes):
        assert "lie on a line" in refusal(sizes, tokens, chinchilla(sizes, tokens, TINY))
    unidentified = "The runs do not identify the constants: "
    assert unidentified in refusal(N, D, 2 + 60 / D**0.3)  # the size makes no difference
    assert "the term E" in refusal(N, D, 25 / N**0.4 + 60 / D**0.3)  # nothing shows a floor
    assert unidentified in refusal(N, D, np.full_like(N, 2.0))
    assert "does not fall" in refusal(N, D, 1 + 0.1 * (N / 1e4) ** 0.1 + 60 / D**0.3)  # larger is worse


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("column", range(3))
def test_impossible_numbers_are_refused(bad, column):
    columns = [*(x.copy() for x in GRID), chinchilla(*GRID, TINY)]
    columns[column][3] = bad
    name = ("N", "D", "loss")[column]
    assert f"{name} must be above 0 and finite, but 1 of 25 values are not" in refusal(*columns)


def test_other_mistakes_are_refused():
    N, D = GRID
    loss = chinchilla(N, D, TINY)
    assert "one value for each run, but their shapes are (25,), (24,) and (25,)" in refusal(N, D[1:], loss)
    assert "their shapes are (5, 5)" in refusal(*(x.reshape(5, 5) for x in (N, D, loss)))
    assert "delta must be a number above 0, but is 0" in refusal(N, D, loss, delta=0)
    for resamples in (-1, 1.5, True):
        with pytest.raises(ValueError, match="resamples must be a whole number"):
            fit_parametric(N, D, loss, resamples=resamples)
    with pytest.raises(TypeError, match="loss must be a number or an array of numbers"):
        fit_parametric(N, D, ["low"] * 25)
