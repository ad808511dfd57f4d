"""Block lists: they hold what the mask holds, as FlexAttention's do, and are found without writing the mask out."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from llmlib.attention import Mask, masks
from llmlib.attention.block_lists import PAIRS_AT_ONCE, find_blocks
from llmlib.attention.flex import as_block_mask

DOCUMENTS = torch.arange(256) // 37
MASKS = [
    masks.full(),
    masks.causal(),
    masks.prefix(9),
    masks.window(5),
    masks.dilated(3, 4),
    masks.dilated(3, (1, 2, 4)),
    masks.global_tokens(3),
    masks.block_local(7),
    masks.random_blocks(2, 4, 1),
    masks.random_blocks(2, 8, 1, length=64),
    masks.star_transformer(),
    masks.longformer(4, 2, (1, 3, 1)),
    masks.etc(4, 5),
    masks.etc(4, 5, 13),
    masks.bigbird(8, 1, 1, 2),
    masks.bigbird(8, 1, 1, 2, length=61),
    ~masks.window(9),
    (masks.causal() & masks.window(3)) | (masks.random_blocks(1, 4) & masks.causal()),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < torch.tensor([0, 60])[b], "padding"),
    Mask(lambda b, h, q_idx, kv_idx: DOCUMENTS[q_idx] == DOCUMENTS[kv_idx], "documents"),
    Mask(lambda b, h, q_idx, kv_idx: (h == 1) & (kv_idx < q_idx), "one head"),
    Mask(lambda b, h, q_idx, kv_idx: h == 1, "one head, no position"),
    Mask(lambda b, h, q_idx, kv_idx: kv_idx < 0, "nothing"),
]


def written_out(lists):
    """The mask that lists describe."""
    (queries, keys), (q_block, kv_block) = lists.lengths, lists.size
    batch, heads, rows = lists.counts.shape
    out = torch.zeros(batch * heads, rows * q_block, -(-keys // kv_block) * kv_block, dtype=torch.bool)
    for row in range(batch * heads * rows):
        outer, i = divmod(row, rows)
        for entry in range(lists.offsets[row], lists.offsets[row + 1]):
            j, pattern = int(lists.columns[entry]), int(lists.pattern[entry])
            here = slice(i * q_block, (i + 1) * q_block), slice(j * kv_block, (j + 1) * kv_block)
            out[outer][here] = lists.patterns[pattern] if pattern >= 0 else True
    assert not out[:, :, keys:].any(), "a block reaches behind the last key"
    return out[:, :queries, :keys].unflatten(0, (batch, heads))


@pytest.mark.parametrize(("queries", "keys"), [(64, 64), (61, 37), (5, 70), (1, 1)])
@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_hold_what_the_mask_holds(mask, queries, keys):
    dense = mask.dense(queries, keys, batch=2, heads=3)
    for size in (8, (16, 8), (4, 16), 64):
        lists = mask.blocks(queries, keys, size=size, batch=2, heads=3)
        assert torch.equal(written_out(lists), dense if dense.dim() == 4 else dense[None, None])
        assert lists.pairs == dense.sum()
        assert lists.kept == lists.counts.sum()


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_tell_full_from_partial_blocks_as_flex_attention_does(mask):
    theirs = create_block_mask(mask.mask_mod, 2, 3, 128, 96, device="cpu", BLOCK_SIZE=32)
    lists = mask.blocks(128, 96, size=32, batch=2, heads=3)
    ours = as_block_mask(mask, lists)
    for name in ("kv_num_blocks", "full_kv_num_blocks", "q_num_blocks", "full_q_num_blocks"):
        assert torch.equal(getattr(ours, name).expand(2, 3, -1), getattr(theirs, name)), name
    assert torch.equal(ours.to_dense().expand(2, 3, -1, -1), theirs.to_dense())
    partial = [pattern for pattern in lists.patterns if pattern.all() or not pattern.any()]
    assert not partial, "a partial block is full or empty"


def entries(lists):
    """Each entry as (sequence and head, row, column, pattern)."""
    each = zip(lists.rows().tolist(), lists.columns.tolist(), lists.pattern.tolist(), strict=True)
    rows = lists.counts.shape[2]
    return {(row // rows, row % rows, column, pattern) for row, column, pattern in each}


@pytest.mark.parametrize(
    "mask", [masks.causal() & masks.window(9), masks.longformer(4, 2, (1, 3, 1))], ids=str
)
def test_transposed_they_list_the_queries_of_each_key(mask):
    lists = mask.blocks(61, 37, size=(8, 4), heads=3)
    other = lists.transposed
    assert other.lengths == (37, 61)
    assert other.counts.shape[2] == 10
    assert entries(lists) == {(outer, i, j, pattern) for outer, j, i, pattern in entries(other)}
    assert torch.equal(other.transposed.columns, lists.columns)


def test_a_row_has_its_full_blocks_first_and_both_kinds_go_up():
    lists = masks.window(40).blocks(400, size=16)
    for row, full in enumerate(lists.full.flatten()):
        entries = slice(lists.offsets[row], lists.offsets[row + 1])
        is_full, columns = lists.pattern[entries] < 0, lists.columns[entries]
        assert is_full.tolist() == [True] * full + [False] * (len(columns) - full)
        assert (columns[:full].diff() > 0).all()
        assert (columns[full:].diff() > 0).all()


@pytest.mark.parametrize(
    "mask", [masks.causal() & masks.window(256), masks.longformer(128, 2), masks.bigbird(64)], ids=str
)
def test_a_long_mask_is_never_written_out(mask):
    asked = []

    def counted(b, h, q_idx, kv_idx):
        answer = mask.mask_mod(b, h, q_idx, kv_idx)
        asked.append(answer.numel() if isinstance(answer, torch.Tensor) else answer.possible.numel())
        return answer

    lists = find_blocks(counted, (32_768, 32_768), (64, 64), (1, 1), None)
    assert max(asked) <= PAIRS_AT_ONCE
    assert sum(asked) <= 512**2 + 64**2 * lists.kept  # each pair of blocks, then pairs in kept blocks alone
    assert len(lists.patterns) <= 8  # blocks that look alike share theirs


def test_memory_is_bounded_for_a_predicate_that_looks_up_a_table():
    asked, documents = [], torch.arange(4096) // 500

    def counted(b, h, q_idx, kv_idx):
        answer = documents[q_idx] == documents[kv_idx]
        asked.append(answer.numel())
        return answer

    find_blocks(counted, (4096, 4096), (64, 64), (1, 1), None)
    assert max(asked) <= PAIRS_AT_ONCE < 4096**2


def test_are_kept_for_a_rule_and_made_anew_for_a_table():
    rule, lengths = masks.window(3), torch.tensor([4])
    assert rule.blocks(64) is rule.blocks(64)
    table = Mask(lambda b, h, q_idx, kv_idx: kv_idx < lengths[b])
    assert not (rule & table).constant
    assert table.blocks(64).pairs == 4 * 64
    lengths[0] = 9
    assert table.blocks(64).pairs == 9 * 64


def test_an_empty_sequence_has_no_blocks():
    for queries, keys in ((0, 5), (5, 0)):
        lists = masks.causal().blocks(queries, keys)
        assert lists.kept == lists.pairs == lists.transposed.kept == 0
