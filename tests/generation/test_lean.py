"""The lean step computes what the modules compute, and keeps away where they do something else."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from llmlib.generation import SlidingWindowCache, StaticCache, generate
from llmlib.generation.lean import LeanStep, serves
from llmlib.layers import Llama3Scaling
from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig

SIZE = {"vocab_size": 31, "context": 32, "width": 16, "layers": 2, "heads": 4, "init_std": 0.3}
CONFIGS = [
    LlamaConfig(**SIZE, kv_heads=2),
    LlamaConfig(**SIZE, kv_heads=1, head_width=6, tied=True),
    LlamaConfig(**SIZE, eps=0.1, rope_base=50.0, rope_scaling=Llama3Scaling(4.0, 16)),
]


def build(config=CONFIGS[0]):
    torch.manual_seed(0)
    model = Llama(config).double()
    for name, weight in model.named_parameters():
        if "norm" in name:
            nn.init.uniform_(weight, 0.5, 1.5)
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=["G = 2", "G = 1, tied, narrow", "G = H, scaled"])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_it_computes_what_the_model_computes(config, batch):
    model = build(config)
    ids = torch.randint(31, (batch, 20))
    expected = model(ids)
    cache = StaticCache.for_model(model, batch, 20)
    model(ids[:, :4], cache=cache)
    assert serves(model, cache)
    step = LeanStep(model, cache)
    for place in range(4, 20):
        assert_close(step(ids[:, place : place + 1]), expected[:, place])
    assert cache.length == 20
    with pytest.raises(ValueError, match="room for 20 tokens"):
        step(ids[:, :1])


@pytest.mark.parametrize(
    ("model", "cores"), [(build(), 1), (GPT(GPTConfig(**SIZE)), 2)], ids=["Llama", "GPT"]
)
def test_a_small_llama_writes_on_one_core(model, cores):
    seen = []
    model.final_norm.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    generate(model, [1, 2], 3)
    assert seen == [cores] * 3
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


def test_it_keeps_away_from_what_it_does_not_know():
    model = build()
    cache = StaticCache.for_model(model, 2, 8)
    assert serves(model, cache)
    hook = model.blocks[0].attention.register_forward_hook(lambda *_: None)
    assert not serves(model, cache), "someone watches"
    hook.remove()
    assert serves(model, cache)

    class Adapted(nn.Linear):
        pass

    model.blocks[1].attention.query = Adapted(16, 16, bias=False).double()
    assert not serves(model, cache), "a layer was swapped"
    assert not serves(build(LlamaConfig(**SIZE, attention_bias=True)), cache)
    assert not serves(GPT(GPTConfig(**SIZE)), cache)
    assert not serves(build(), SlidingWindowCache.for_model(build(), 2, 8))
    cache.length = torch.tensor([1, 2])
    assert not serves(build(), cache), "texts of different lengths"
    with torch.device("meta"):
        large = Llama(LlamaConfig())
    assert not serves(large, StaticCache(CONFIGS[0], 1, 1))
