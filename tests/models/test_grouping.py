"""Mean pooling of key/value heads, against head by head means and against a model whose heads agree already."""

import pytest
import torch
from torch.testing import assert_close

from llmlib.models import Llama, LlamaConfig
from llmlib.models.grouping import share_heads

CONFIG = LlamaConfig(vocab_size=20, width=16, layers=2, heads=4, attention_bias=True, init_std=0.3)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Llama(CONFIG)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_each_head_is_the_mean_of_its_group(model, kv_heads):
    shared = share_heads(model, kv_heads)
    size, width = 4 // kv_heads, CONFIG.head_width
    assert shared.config.kv_heads == kv_heads
    for old, new in zip(model.blocks, shared.blocks, strict=True):
        for name in ("key", "value"):
            before, after = (getattr(block.attention, name) for block in (old, new))
            for head in range(kv_heads):
                rows = [slice((head * size + i) * width, (head * size + i + 1) * width) for i in range(size)]
                here = slice(head * width, (head + 1) * width)
                assert_close(after.weight[here], sum(before.weight[row] for row in rows) / size)
                assert_close(after.bias[here], sum(before.bias[row] for row in rows) / size)
        assert torch.equal(old.attention.query.weight, new.attention.query.weight)


@torch.no_grad()
def test_heads_that_agree_can_share(model):
    """A model whose neighbouring heads have the same keys and values computes the same with half of them."""
    for block in model.blocks:
        for layer in (block.attention.key, block.attention.value):
            for parameter in layer.parameters():
                heads = parameter.data.unflatten(0, (2, 2, -1))
                heads[:, 1] = heads[:, 0]
    ids = torch.randint(20, (2, 9))
    assert_close(share_heads(model, 2)(ids), model(ids))
    assert not torch.allclose(share_heads(model, 1)(ids), model(ids), atol=1e-3)


def test_the_old_model_stays_as_it_is(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    shared = share_heads(model.eval(), 2)
    assert not shared.training
    for parameter in shared.parameters():
        parameter.data.zero_()
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    grouped = share_heads(share_heads(model, 2), 1)
    assert_close(grouped.state_dict(), share_heads(model, 1).state_dict())


@pytest.mark.parametrize("kv_heads", [0, 3, 8, 2.0, True])
def test_what_does_not_divide_is_refused(model, kv_heads):
    with pytest.raises(ValueError, match="must divide the 4 key/value heads"):
        share_heads(model, kv_heads)
