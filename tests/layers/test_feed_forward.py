"""The feed-forward layers against torch.nn and the formulae of their papers."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from llmlib.layers import GLU, FeedForward, SwiGLU, gated_hidden, swish


@pytest.mark.parametrize(
    ("activation", "theirs"),
    [("relu", nn.ReLU()), ("gelu", nn.GELU()), ("gelu_tanh", nn.GELU(approximate="tanh"))],
)
@pytest.mark.parametrize("norm_hidden", [False, True])
def test_is_two_linear_layers_with_an_activation_between(activation, theirs, norm_hidden):
    ours = FeedForward(6, 10, activation=activation, norm_hidden=norm_hidden)
    norm = nn.LayerNorm(10) if norm_hidden else nn.Identity()
    expected = nn.Sequential(nn.Linear(6, 10), theirs, norm, nn.Linear(10, 6))
    expected.load_state_dict(dict(zip(expected.state_dict(), ours.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 6)
    torch.testing.assert_close(ours(x), expected(x))


def test_without_biases_it_is_two_products():
    layer, x = FeedForward(6, 10, activation="relu", bias=False), torch.randn(2, 3, 6)
    torch.testing.assert_close(layer(x), (x @ layer.up.weight.T).relu() @ layer.down.weight.T)
    assert [name for name, _ in layer.named_parameters()] == ["up.weight", "down.weight"]


def test_is_four_times_as_wide_inside_by_default():
    assert FeedForward(6).up.weight.shape == (24, 6)


def test_names_the_activations_that_there_are():
    with pytest.raises(ValueError, match="no activation 'swish'; there are 'relu', 'gelu', 'gelu_tanh'"):
        FeedForward(6, activation="swish")


GATES = {
    "glu": nn.Sigmoid(),
    "bilinear": nn.Identity(),
    "reglu": nn.ReLU(),
    "geglu": nn.GELU(),
    "swiglu": nn.SiLU(),
}


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("bias", [False, True])
def test_a_gated_layer_multiplies_two_products(kind, bias):
    layer, x = GLU(6, 10, kind=kind, bias=bias), torch.randn(2, 3, 6)

    def product(linear, y):
        return y @ linear.weight.T + (linear.bias if bias else 0)

    expected = product(layer.down, GATES[kind](product(layer.gate, x)) * product(layer.up, x))
    torch.testing.assert_close(layer(x), expected)


def test_swiglu_has_the_values_and_gradients_of_silu_times_up():
    layer, x = SwiGLU(4, 5).double(), torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), layer.down(F.silu(layer.gate(x)) * layer.up(x)))
    assert torch.autograd.gradcheck(layer, x)
    (gradient,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):  # and not a wrong number
        gradient.sum().backward()


def test_swiglu_keeps_three_wide_tensors_for_the_way_back_where_pytorch_keeps_four():
    def kept(layer):
        wide = set()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda saved: wide.add(saved.data_ptr()) or saved if saved.shape == (2, 64) else saved,
            lambda saved: saved,
        ):
            layer(torch.randn(2, 8, requires_grad=True))
        return len(wide)

    assert (kept(SwiGLU(8, 64)), kept(GLU(8, 64, kind="swiglu"))) == (3, 4)


def test_pytorchs_glu_is_the_one_with_sigmoid():
    layer, x = GLU(6, 10), torch.randn(2, 3, 6)
    torch.testing.assert_close(layer(x), layer.down(F.glu(torch.cat((layer.up(x), layer.gate(x)), -1))))


def test_names_the_gates_that_there_are():
    with pytest.raises(
        ValueError, match="no gate 'swish'; there are 'glu', 'bilinear', 'reglu', 'geglu', 'swiglu'"
    ):
        GLU(6, kind="swish")


def test_swish_goes_from_half_its_input_over_silu_to_relu():
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    torch.testing.assert_close(swish(x, 0), x / 2)
    torch.testing.assert_close(swish(x), F.silu(x))
    torch.testing.assert_close(swish(x, 1e3), F.relu(x), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("width", "rounding", "hidden"),
    [
        # intermediate_size in the configurations that Meta published
        (4096, {"multiple_of": 256}, 11008),
        (5120, {"multiple_of": 256}, 13824),
        (6656, {"multiple_of": 256}, 17920),
        (8192, {"multiple_of": 256}, 22016),
        (8192, {"multiple_of": 4096, "multiplier": 1.3}, 28672),
        (4096, {"multiple_of": 1024, "multiplier": 1.3}, 14336),
    ],
)
def test_the_hidden_width_is_that_of_the_published_models(width, rounding, hidden):
    assert gated_hidden(width, **rounding) == hidden


@pytest.mark.parametrize("width", [96, 100, 768])
def test_a_gated_layer_costs_as_much_as_a_plain_one(width):
    def matrices(layer):
        return sum(p.numel() for p in layer.parameters() if p.ndim == 2)

    assert 0 <= matrices(SwiGLU(width)) - matrices(FeedForward(width)) <= 3 * 8 * width
