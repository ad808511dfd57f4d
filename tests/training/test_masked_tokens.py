"""Masking as the paper says: shares by exact counts and by chi-square tests, and never a special token."""

import pytest
import torch

from llmlib.attention import masks
from llmlib.models import Bert, BertConfig
from llmlib.training import IGNORED, MaskedTokens, mlm_mask

SPECIAL = (0, 1, 2, 3, 4)
VOCABULARY = {"mask_id": 4, "vocab_size": 55, "special_ids": SPECIAL}


def rows(count: int, length: int) -> torch.Tensor:
    """Rows with special tokens at their ends and in the middle."""
    ids = torch.randint(5, 55, (count, length), generator=torch.Generator().manual_seed(0))
    ids[:, 0], ids[:, -1], ids[:, length // 2] = 2, 3, 0
    return ids


@pytest.mark.parametrize(("rate", "expected"), [(0.15, 15), (0.4, 39), (1.0, 98), (0.001, 1)])
def test_each_row_has_its_exact_share_chosen(rate, expected):
    ids = rows(200, 101)  # of which 98 are ordinary
    hidden, targets = mlm_mask(ids, rate=rate, seed=0, **VOCABULARY)
    chosen = targets != IGNORED
    assert chosen.sum(dim=1).tolist() == [expected] * 200
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(hidden[~chosen], ids[~chosen])


def test_special_tokens_are_neither_chosen_nor_drawn():
    ids = rows(400, 51)
    hidden, targets = mlm_mask(ids, rate=1.0, seed=1, **VOCABULARY)
    special = ids < 5
    assert (targets[special] == IGNORED).all()
    assert torch.equal(hidden[special], ids[special])
    assert set(hidden[~special].unique().tolist()) == {4, *range(5, 55)}


def test_of_those_chosen_80_percent_are_masked_10_random_and_10_kept(p_value):
    ids = rows(2000, 101)
    hidden, targets = mlm_mask(ids, seed=2, **VOCABULARY)
    chosen = targets != IGNORED
    before, after = ids[chosen], hidden[chosen]
    # One random token in 50 happens to be the one that was there.
    counts = [(after == 4).sum(), ((after != 4) & (after != before)).sum(), (after == before).sum()]
    shares = [0.8, 0.1 * 49 / 50, 0.1 + 0.1 / 50]
    total = int(chosen.sum())
    observed = [int(count) for count in counts]
    assert p_value(observed, [share * total for share in shares]) > 1e-3
    drawn = after[(after != 4) & (after != before)]
    assert p_value(torch.bincount(drawn, minlength=55)[5:]) > 1e-3


def test_every_place_is_as_likely_as_any_other(p_value):
    ids = rows(4000, 21)
    chosen = mlm_mask(ids, seed=3, **VOCABULARY)[1] != IGNORED
    by_place = chosen.sum(dim=0)[(ids >= 5).all(dim=0)]
    assert len(by_place) == 18
    assert p_value(by_place) > 1e-3


def test_a_seed_repeats_and_leaves_pytorchs_generator_alone():
    ids = rows(4, 30)
    torch.manual_seed(5)
    first = mlm_mask(ids, seed=7, **VOCABULARY)
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert all(map(torch.equal, first, mlm_mask(ids, seed=7, **VOCABULARY)))
    assert not torch.equal(first[0], mlm_mask(ids, seed=8, **VOCABULARY)[0])
    torch.manual_seed(5)
    free = mlm_mask(ids, **VOCABULARY)
    torch.manual_seed(5)
    assert all(map(torch.equal, free, mlm_mask(ids, **VOCABULARY)))


@pytest.mark.parametrize("rate", [0, -0.1, 1.01, float("nan"), True, "0.15"])
def test_a_rate_that_is_no_share_is_refused(rate):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        mlm_mask(rows(1, 9), rate=rate, **VOCABULARY)


def test_a_vocabulary_without_mask_or_without_words_is_refused():
    with pytest.raises(ValueError, match=r"train the tokenizer with a \[MASK\]"):
        mlm_mask(rows(1, 9), mask_id=4, vocab_size=55, special_ids=(0, 1))
    with pytest.raises(ValueError, match="All 5 tokens of the vocabulary are special"):
        mlm_mask(torch.zeros(1, 3, dtype=torch.long), mask_id=4, vocab_size=5, special_ids=SPECIAL)


def test_the_objective_is_the_cross_entropy_of_the_chosen_tokens():
    torch.manual_seed(0)
    model = Bert(BertConfig(vocab_size=55, context=16, width=12, layers=1, heads=2, init_std=0.3))
    ids = rows(3, 16)
    lengths = torch.tensor([16, 10, 4])
    ids[torch.arange(16) >= lengths[:, None]] = 0
    objective = MaskedTokens(4, 55, SPECIAL, rate=0.5, pad_id=0)
    torch.manual_seed(1)
    loss = objective(model, ids)
    torch.manual_seed(1)
    hidden, targets = mlm_mask(ids, rate=0.5, **VOCABULARY)
    ids_seen = (ids != 0).sum(dim=1)  # rows(…) put a 0 in the middle, too
    by_hand = model(hidden, mask=masks.padding(ids_seen)).log_softmax(-1)
    nats = [-by_hand[b, t, targets[b, t]] for b in range(3) for t in range(16) if targets[b, t] != IGNORED]
    torch.testing.assert_close(loss, torch.stack(nats).mean())
