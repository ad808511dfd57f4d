"""LLaMA-Adapter: as PEFT's on the same weights, the base at the start, and the count of the paper."""

import math

import pytest
import torch

from llmlib.adaptation import AdaptedAttention, adapter_parameters, add_llama_adapter
from llmlib.generation import Sampler, generate
from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig
from llmlib.training import TrainConfig, train

SHAPE = {"vocab_size": 29, "context": 32, "width": 16, "layers": 3, "heads": 4, "kv_heads": 2, "hidden": 24}
IDS = torch.arange(24).reshape(2, 12)


def make():
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SHAPE))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def adapted_layers(model):
    return [module for module in model.modules() if isinstance(module, AdaptedAttention)]


def opened(model):
    add_llama_adapter(model, prompts=5, layers=2)
    for layer in adapted_layers(model):
        torch.nn.init.normal_(layer.gate)
    return model


def test_it_starts_as_the_base():
    base, model = make(), make()
    names = add_llama_adapter(model, prompts=5, layers=2)
    assert names == ["blocks.1.attention", "blocks.2.attention"]
    assert torch.equal(model(IDS), base(IDS))
    assert (opened(make())(IDS) - base(IDS)).abs().max() > 0.01


def test_peft_gives_the_same(transformers, tmp_path):
    """PEFT has one gate for all heads of a layer, and no tanh."""
    peft = pytest.importorskip("peft", reason="needs peft: pip install peft")
    make().save_pretrained(tmp_path)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path).eval()
    config = peft.AdaptionPromptConfig(adapter_len=5, adapter_layers=2, task_type="CAUSAL_LM")
    theirs = peft.get_peft_model(theirs, config)
    ours = make()
    add_llama_adapter(ours, prompts=5, layers=2)
    others = [m for m in theirs.modules() if hasattr(m, "adaption_prompt")]
    assert len(others) == 2
    for layer, other, gate in zip(adapted_layers(ours), others, (0.4, -0.7), strict=True):
        layer.prompts.data = other.adaption_prompt.data[0].clone()
        layer.gate.data.fill_(math.atanh(gate))
        other.adaption_gate.data.fill_(gate)
    torch.testing.assert_close(ours(IDS), theirs(IDS).logits, rtol=1e-4, atol=1e-4)


def test_training_moves_prompts_and_gates_alone():
    model = make()
    add_llama_adapter(model, prompts=5, layers=2)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {f"blocks.{i}.attention.{kind}" for i in (1, 2) for kind in ("prompts", "gate")}
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if n not in trained}
    rows = torch.randint(29, (8, 13), generator=torch.Generator().manual_seed(0))
    settings = TrainConfig(steps=8, batch_size=4, optimizer="adamw", adamw_learning_rate=0.1)
    train(model, rows, settings, progress=False)
    assert all(torch.equal(model.get_parameter(name), before) for name, before in frozen.items())
    assert all(layer.gate.abs().min() > 0 for layer in adapted_layers(model))


def test_generation_with_a_cache_sees_the_prompts():
    model, greedy = opened(make()), Sampler(temperature=0)
    expected = generate(model, IDS, 6, sampler=greedy, cache=False)
    assert torch.equal(generate(model, IDS, 6, sampler=greedy), expected)


def test_the_count_of_the_paper():
    """Zhang et al. 2023 give 1.2M for LLaMA 7B: 10 prompts in each of the 30 upper layers, of 4,096 numbers each."""
    config = LlamaConfig.preset("llama-7b")
    assert adapter_parameters(config) == (10 * 30 * 4096, 30 * 32)
    with torch.device("meta"):
        model = Llama(config)
        add_llama_adapter(model)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_228_800 + 960


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("prompts must be a whole number, 1 or larger", {"prompts": 0}),
        ("layers must be a whole number, from 1 to 3", {"layers": 4}),
    ],
)
def test_bad_settings(message, settings):
    model = make()
    with pytest.raises(ValueError, match=message):
        add_llama_adapter(model, **settings)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_cannot_have_one():
    with pytest.raises(TypeError, match="is for a Llama, but got a GPT"):
        add_llama_adapter(GPT(GPTConfig(vocab_size=29, context=16, width=16, layers=2, heads=4)))
    with pytest.raises(ValueError, match="has an adapter already"):
        add_llama_adapter(opened(make()))
