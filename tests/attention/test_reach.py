"""Reach and recall, against networkx and by hand."""

import pytest
import torch

from llmlib.attention import attention_weights, masks
from llmlib.attention.reach import diameter, reachable, receptive_field
from llmlib.attention.recall import mass_recall, top_recall

networkx = pytest.importorskip("networkx", reason="pip install networkx")

MASKS = [
    masks.window(3),
    masks.dilated(2, 3),
    masks.star_transformer(),
    masks.causal() & masks.window(2),
    masks.random_blocks(1, 2, 3, length=40) | masks.window(1),
    masks.bigbird(4, 1, 1, 1),
    masks.block_local(7),
]


def graph_of(mask, length):
    return networkx.from_numpy_array(mask.dense(length).numpy(), create_using=networkx.DiGraph)


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_reach_is_the_distance_in_the_graph_of_the_mask(mask):
    distances = dict(networkx.all_pairs_shortest_path_length(graph_of(mask, 40)))
    reached = reachable(mask, 40, 4)
    for layers in range(1, 5):
        expected = [[distances[q].get(k, 99) <= layers for k in range(40)] for q in range(40)]
        assert reached[layers - 1].tolist() == expected
    assert torch.equal(receptive_field(mask, 40, 4), reached.sum(-1))
    assert diameter(mask, 40) == max(max(to.values()) for to in distances.values())


def test_the_diameter_is_that_of_graph_theory_where_all_is_connected():
    for mask in (masks.window(3), masks.star_transformer(), masks.bigbird(4, 1, 1, 1)):
        assert diameter(mask, 40) == networkx.diameter(graph_of(mask, 40))


def test_a_window_reaches_its_width_further_with_every_layer():
    assert receptive_field(masks.window(3), 100, 4)[:, 50].tolist() == [7, 13, 19, 25]
    assert receptive_field(masks.window(3) & masks.causal(), 100, 4)[:, 50].tolist() == [4, 7, 10, 13]


def test_heads_that_are_dilated_reach_further():
    mask = masks.longformer(2, 0, (1, 4))
    assert reachable(mask, 50, 1, head=0)[0, 25].nonzero().ravel().tolist() == [23, 24, 25, 26, 27]
    assert reachable(mask, 50, 1, head=1)[0, 25].nonzero().ravel().tolist() == [17, 21, 25, 29, 33]


def test_recall_by_hand():
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.0, 0.9]])[None, None]
    pairs = torch.tensor([[True, False, True], [False, True, True]])
    assert mass_recall(weights, pairs).item() == pytest.approx((0.7 + 0.9) / 2)
    assert top_recall(weights, pairs, 1).item() == 1
    assert top_recall(weights, pairs, 2).item() == pytest.approx(0.5)


def test_recall_counts_only_queries_that_see_something():
    q, k = torch.randn(2, 1, 2, 6, 4)
    weights = attention_weights(q, k, mask=masks.causal() & ~masks.window(0))
    everything = torch.ones(6, 6, dtype=torch.bool)
    torch.testing.assert_close(mass_recall(weights, everything), torch.ones(1, 2))


def test_refuses_numbers_that_make_no_sense():
    with pytest.raises(ValueError, match="layers = 0"):
        reachable(masks.causal(), 4, 0)
    with pytest.raises(ValueError, match="top must be 1 to 3"):
        top_recall(torch.ones(1, 1, 2, 3), torch.ones(2, 3, dtype=torch.bool), 4)
