"""Generation on a CUDA device: a step that is replayed as a graph writes what it wrote before."""

import pytest
import torch

from llmlib.generation import Sampler, generate
from llmlib.models import Llama, LlamaConfig

GREEDY = Sampler(temperature=0)
CONFIG = LlamaConfig(vocab_size=50, context=64, width=64, layers=2, heads=4, kv_heads=2, init_std=0.4)
PROMPTS = ([1, 2, 3], [[1, 2, 3], [4]])


@pytest.mark.gpu
@pytest.mark.parametrize("ids", PROMPTS, ids=["one", "two lengths"])
@pytest.mark.parametrize(
    "options", [{"graph": True}, {"compile": True}, {"graph": True, "compile": True}], ids=str
)
def test_a_graph_and_a_compiled_step_write_the_same(ids, options):
    torch.manual_seed(0)
    model = Llama(CONFIG).cuda()
    text = generate(model, ids, 40, sampler=GREEDY)
    assert text == generate(model, ids, 40, sampler=GREEDY, cache=False)
    assert text == generate(model, ids, 40, sampler=GREEDY, **options)


@pytest.mark.gpu
def test_a_seed_draws_the_same_text_on_both_devices():
    torch.manual_seed(0)
    model = Llama(CONFIG)
    text = generate(model, [1, 2, 3], 30, seed=5)
    assert generate(model.cuda(), [1, 2, 3], 30, seed=5, graph=True) == text
