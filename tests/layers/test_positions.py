"""Positions against their closed form."""

import math

import pytest
import torch

from llmlib.layers import LearnedPositions, SinusoidalPositions, sinusoids


def test_sinusoids_follow_the_formula_of_the_paper():
    table = sinusoids(50, 8)
    for t in (0, 1, 7, 49):
        for i in range(4):
            angle = t / 10_000 ** (2 * i / 8)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_the_product_of_two_sinusoids_depends_on_their_distance_alone():
    products = sinusoids(40, 16).double() @ sinusoids(40, 16).double().T
    for distance in (1, 5, 20):
        along = products.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along), rtol=0, atol=1e-4)


def test_sinusoids_refuse_an_odd_width():
    with pytest.raises(ValueError, match="must be even, but it is 7"):
        SinusoidalPositions(7)


def test_sinusoidal_positions_have_no_parameters_and_no_longest_sequence():
    layer, x = SinusoidalPositions(6), torch.randn(2, 5000, 6)
    assert not list(layer.parameters())
    torch.testing.assert_close(layer(x) - x, sinusoids(5000, 6).expand_as(x), rtol=0, atol=1e-6)


def test_learned_positions_add_one_vector_a_position():
    layer, x = LearnedPositions(4, 6), torch.randn(2, 3, 6)
    torch.testing.assert_close(layer(x), x + torch.stack([layer.weight[t] for t in range(3)]))


def test_learned_positions_refuse_a_sequence_beyond_the_context():
    with pytest.raises(ValueError, match="5 positions, but this model has learned vectors for 4"):
        LearnedPositions(4, 6)(torch.zeros(1, 5, 6))


def test_an_offset_leaves_the_first_rows_of_the_table_unused():
    layer, x = LearnedPositions(4, 6, offset=2), torch.randn(2, 4, 6)
    assert layer.weight.shape == (6, 6)
    torch.testing.assert_close(layer(x), x + layer.weight[2:])
    torch.testing.assert_close(layer(x[:, :1], torch.tensor([3])), x[:, :1] + layer.weight[5])
    with pytest.raises(ValueError, match="5 positions, but this model has learned vectors for 4"):
        layer(torch.zeros(1, 5, 6))
