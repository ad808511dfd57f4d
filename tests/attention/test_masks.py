"""Masks: what each lets through, how they combine, and that FlexAttention takes them."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from llmlib.attention import Mask, masks

LENGTHS = [(1, 1), (5, 5), (4, 7), (7, 4)]
PADDING = Mask(lambda b, h, q_idx, kv_idx: kv_idx < torch.tensor([2, 5])[b], "padding")


def written_out(rule, queries, keys):
    """A mask from a Python rule, one pair at a time."""
    return torch.tensor([[bool(rule(q, k)) for k in range(keys)] for q in range(queries)])


@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
@pytest.mark.parametrize(
    ("mask", "rule"),
    [
        (masks.full(), lambda q, k: True),
        (masks.causal(), lambda q, k: k <= q),
        (masks.prefix(0), lambda q, k: k <= q),
        (masks.prefix(3), lambda q, k: k <= q or k < 3),
        (masks.block_local(3), lambda q, k: q // 3 == k // 3),
        (masks.window(0), lambda q, k: q == k),
        (masks.window(2), lambda q, k: abs(q - k) <= 2),
        (masks.dilated(2, 1), lambda q, k: abs(q - k) <= 2),
        (masks.dilated(2, 3), lambda q, k: abs(q - k) in (0, 3, 6)),
        (masks.global_tokens(2), lambda q, k: q < 2 or k < 2),
        (masks.window(1).in_blocks(2), lambda q, k: abs(q // 2 - k // 2) <= 1),
        (~masks.window(1), lambda q, k: abs(q - k) > 1),
        (masks.star_transformer(), lambda q, k: abs(q - k) <= 1 or 0 in (q, k)),
        (masks.longformer(2, 1, 2), lambda q, k: abs(q - k) in (0, 2, 4) or 0 in (q, k)),
        (masks.etc(1, 2), lambda q, k: abs(q - k) <= 1 or q < 2 or k < 2),
        (
            masks.etc(1, 2, segment=3),
            lambda q, k: k < 2 or (abs(q - k) <= 1 if q >= 2 else q == (k - 2) // 3),
        ),
        (masks.bigbird(2, 0, 1, 0), lambda q, k: q // 2 == k // 2 or q < 2 or k < 2),
        (masks.bigbird(2, 0, 1, 0, length=7), lambda q, k: q // 2 == k // 2 or {0, 3} & {q // 2, k // 2}),
        (masks.causal() & masks.block_local(2), lambda q, k: k <= q and q // 2 == k // 2),
        (masks.causal() | masks.block_local(3), lambda q, k: k <= q or q // 3 == k // 3),
    ],
    ids=str,
)
def test_lets_through_what_its_rule_says(mask, rule, queries, keys):
    assert torch.equal(mask.dense(queries, keys), written_out(rule, queries, keys))


def test_is_square_unless_told_otherwise():
    assert torch.equal(masks.causal().dense(4), torch.ones(4, 4, dtype=torch.bool).tril())


def test_may_differ_between_sequences_and_heads():
    by_head = Mask(lambda b, h, q_idx, kv_idx: q_idx - kv_idx == h, "distance h")
    assert PADDING.dense(3, 6, batch=2).shape == (2, 1, 3, 6)
    assert PADDING.dense(3, 6, batch=2)[:, 0, 0].sum(-1).tolist() == [2, 5]
    assert by_head.dense(3, heads=2)[0].int().tolist() == [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
    ]


@pytest.mark.parametrize(
    "mask",
    [
        masks.full(),
        masks.causal(),
        masks.prefix(5),
        masks.causal() & masks.block_local(4),
        masks.prefix(2) | masks.block_local(4),
        masks.longformer(2, 1, (1, 2)),
        masks.bigbird(2, 1, 1, 2),
        PADDING,
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_takes_the_predicate_as_it_is(mask):
    q, k, v = torch.randn(3, 2, 2, 16, 8)
    block_mask = create_block_mask(mask.mask_mod, 2, 2, 16, 16, device="cpu")
    dense = mask.dense(16, batch=2, heads=2)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=dense)
    torch.testing.assert_close(flex_attention(q, k, v, block_mask=block_mask), expected)


def test_a_dilation_may_differ_between_heads():
    by_head = masks.dilated(2, (1, 3)).dense(9, heads=3)[0]
    for head, step in enumerate((1, 3, 1)):
        assert torch.equal(by_head[head], masks.dilated(2, step).dense(9))
    assert torch.equal(
        masks.longformer(2, 1, (1, 3)).dense(9, heads=2)[0, 1], masks.longformer(2, 1, 3).dense(9)
    )


def blocks_drawn(mask, block, length):
    """Which block each block of queries sees; all of a block must be alike."""
    dense = mask.dense(length).unflatten(0, (-1, block)).unflatten(2, (-1, block)).transpose(1, 2)
    assert torch.equal(dense.any(-1).any(-1), dense.all(-1).all(-1))
    return dense.any(-1).any(-1)


@pytest.mark.parametrize("r", [0, 1, 2, 5])
def test_random_blocks_are_as_many_as_asked_for(r):
    drawn = blocks_drawn(masks.random_blocks(r, 4, 1), 4, 80)
    assert drawn.sum(1).tolist() == [min(r, i + 1) for i in range(20)]
    assert not drawn.triu(1).any()
    drawn = blocks_drawn(masks.random_blocks(r, 4, 1, length=79), 4, 80)
    assert drawn.sum(1).tolist() == [r] * 20


def test_random_blocks_are_spread_evenly_and_differ_by_seed():
    seen = sum(
        blocks_drawn(masks.random_blocks(1, 1, seed, length=40), 1, 40).double() for seed in range(300)
    )
    # 40 × 300 draws of 40 columns: a column is drawn 300 times on average, with a standard deviation of about 17.
    assert seen.sum() == 40 * 300
    assert (seen.sum(0) - 300).abs().max() < 5 * 17.1
    assert (seen.diag().sum() - 300).abs() < 5 * 17.1
    one, same, other = (masks.random_blocks(2, 1, seed).dense(50) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_longer_sequence_draws_the_same_blocks():
    mask = masks.random_blocks(3, 2, 5)
    assert torch.equal(mask.dense(60)[:40, :40], mask.dense(40))


def test_shows_how_it_was_made():
    assert repr(masks.causal() & (masks.prefix(2) | masks.full())) == "(causal() & (prefix(2) | full()))"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.prefix(-1), r"at least 0, but got n = -1"),
        (lambda: masks.block_local(0), r"at least 1, but got b = 0"),
        (lambda: masks.window(-1), r"at least 0, but got w = -1"),
        (lambda: masks.dilated(2, 0), r"at least 1, but got d = 0"),
        (lambda: masks.dilated(2, ()), r"at least 1, but got d = 0"),
        (lambda: masks.dilated(2, (1, 0)), r"at least 1, but got d = 0"),
        (lambda: masks.global_tokens(-1), r"at least 0, but got n = -1"),
        (lambda: masks.random_blocks(-1), r"at least 0, but got r = -1"),
        (lambda: masks.random_blocks(1, 0), r"at least 1, but got block = 0"),
        (lambda: masks.random_blocks(1, 2, length=0), r"at least 1, but got length = 0"),
        (lambda: masks.etc(1, 1, 0), r"at least 1, but got segment = 0"),
        (lambda: masks.etc(1, -1, 2), r"at least 0, but got n = -1"),
        (lambda: masks.causal().in_blocks(0), r"at least 1 position, but got 0"),
        (lambda: masks.causal().blocks(4, size=0), r"at least 1 query and 1 key"),
    ],
)
def test_refuses_a_size_that_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_what_is_no_whole_number():
    with pytest.raises(TypeError, match=r"whole number, but got w = 2\.5"):
        masks.window(2.5)


@pytest.mark.parametrize("predicate", [lambda b, h, q, k: q - k, lambda b, h, q, k: True])
def test_refuses_a_predicate_that_gives_no_booleans(predicate):
    with pytest.raises(TypeError, match="must give a tensor of booleans"):
        Mask(predicate).dense(3)


def test_refuses_lengths_for_which_a_table_is_too_small():
    table = torch.ones(8, 8, dtype=torch.bool)
    mask = Mask(lambda b, h, q_idx, kv_idx: table[q_idx, kv_idx], "table")
    assert mask.dense(8).all()
    for written in (mask.dense, mask.blocks):
        with pytest.raises(
            ValueError, match="table looks up a table that has no entry for some of 8 queries and 9 keys"
        ):
            written(8, 9)


def test_padding_hides_the_keys_behind_each_sequence():
    dense = masks.padding(torch.tensor([3, 0, 4])).dense(2, 4, batch=3)
    rows = [[True, True, True, False], [False] * 4, [True] * 4]
    assert dense[:, 0].tolist() == [[row] * 2 for row in rows]


def test_a_prefix_of_its_own_for_each_sequence():
    dense = masks.prefix(torch.tensor([3, 0])).dense(5, batch=2)
    assert torch.equal(dense[0, 0], masks.prefix(3).dense(5))
    assert torch.equal(dense[1, 0], masks.causal().dense(5))


@pytest.mark.parametrize("make", [masks.padding, masks.prefix])
def test_lengths_that_cannot_be_are_refused(make, unchecked):
    with pytest.raises(ValueError, match="at least 0, but there is -1"):
        make(torch.tensor([3, -1]))
    with pytest.raises(ValueError, match="one whole number for each sequence"):
        make(torch.tensor([3.0]))
