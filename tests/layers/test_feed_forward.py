"""The feed-forward layer against torch.nn."""

import pytest
import torch
from torch import nn

from llmlib.layers import FeedForward


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


def test_is_four_times_as_wide_inside_by_default():
    assert FeedForward(6).up.weight.shape == (24, 6)


def test_names_the_activations_that_there_are():
    with pytest.raises(ValueError, match="no activation 'swish'; there are 'relu', 'gelu', 'gelu_tanh'"):
        FeedForward(6, activation="swish")
