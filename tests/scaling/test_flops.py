"""Parameters against those of the models, FLOPs against PyTorch's counter and the tables of papers."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig
from llmlib.scaling import Shape, training_flops

CONFIGS = [
    LlamaConfig(vocab_size=50, context=16, width=24, layers=2, heads=4),
    LlamaConfig(vocab_size=50, context=16, width=24, layers=3, heads=4, kv_heads=2, hidden=40, tied=True),
    LlamaConfig(vocab_size=33, context=16, width=20, layers=1, heads=2, head_width=6),
    GPTConfig(vocab_size=50, context=16, width=24, layers=2, heads=4),
    GPTConfig(vocab_size=31, context=12, width=20, layers=3, heads=2, hidden=28, tied=False),
    GPTConfig(vocab_size=31, context=12, width=20, layers=1, heads=2, positions="sinusoidal"),
]


def build(config):
    return Llama(config) if isinstance(config, LlamaConfig) else GPT(config)


@pytest.mark.parametrize("config", CONFIGS)
def test_parameters_are_those_of_the_model(config):
    model, counted = build(config), Shape.of(config).parameters()
    assert counted.total == model.num_parameters()
    assert counted.non_embedding == model.num_parameters(embeddings=False)
    assert counted.embedding == sum(
        weight.numel()
        for name, weight in model.named_parameters()
        if name.startswith(("tokens", "positions"))
    )
    of_attention = [w.numel() for name, w in model.blocks.named_parameters() if ".attention." in name]
    assert counted.attention == sum(of_attention)


@pytest.mark.parametrize("config", CONFIGS)
def test_flops_are_those_that_pytorch_counts(config):
    model, batch, context = build(config), 3, 10
    ids = torch.randint(config.vocab_size, (batch, context))
    # The counter knows the products of matrices; attention is written out in them, for fused kernels hide them.
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as forward,
    ):
        loss = model(ids).logsumexp(-1).mean()
    with (
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
        FlopCounterMode(display=False) as backward,
    ):
        loss.backward()
    flops = Shape.of(config).flops(context)
    assert flops.forward * batch * context == forward.get_total_flops()
    assert flops.training * batch * context == forward.get_total_flops() + backward.get_total_flops()
    assert training_flops(config, batch * context, context) == flops.training * batch * context


def test_a_causal_mask_leaves_the_pairs_that_it_lets_through():
    shape = Shape.of(CONFIGS[0])
    pairs = torch.ones(10, 10).tril().sum()
    assert shape.flops(10, causal=True).scores == pytest.approx(shape.flops(10).scores * float(pairs) / 100)
    assert shape.flops(10, causal=True).feed_forward == shape.flops(10).feed_forward


# Parameters in millions or billions, layers, width, inside, heads, head width, FLOPs / 6ND.
TABLE_A4 = [
    (73e6, 10, 640, 2560, 10, 64, 1.03),
    (305e6, 20, 1024, 4096, 16, 64, 1.10),
    (552e6, 24, 1280, 5120, 10, 128, 1.08),
    (1.1e9, 26, 1792, 7168, 14, 128, 1.04),
    (1.6e9, 28, 2048, 8192, 16, 128, 1.03),
    (6.8e9, 40, 3584, 14336, 28, 128, 0.99),
]


@pytest.mark.parametrize(("size", "layers", "width", "hidden", "heads", "head_width", "ratio"), TABLE_A4)
def test_ratios_of_hoffmann_et_al(size, layers, width, hidden, heads, head_width, ratio):
    """Table A4 of arXiv:2203.15556, for sequences of 2,048: the ratios leave embeddings and logits out."""
    shape = Shape(32_000, width, layers, heads, head_width=head_width, hidden=hidden, gated=False)
    flops = shape.flops(2048)
    ours = 3 * (flops.projections + flops.scores + flops.feed_forward)
    digits = 1e6 if size < 1e9 else 1e8  # to which N is rounded
    assert ours / (6 * (size + digits / 2)) - 0.005 <= ratio <= ours / (6 * (size - digits / 2)) + 0.005


def test_6nd_of_a_large_and_of_a_small_model():
    """By hand: C = 2 layers of 12 C² and V C for the logits; a small vocabulary and short text hide nothing."""
    large = Shape.of(LlamaConfig.preset("llama-65b"))
    assert large.flops(2048).training / (6 * large.parameters().total) == pytest.approx(1.0, abs=0.05)
    small = Shape(vocab_size=256, width=16, layers=2, heads=2, hidden=48)
    assert small.parameters().non_embedding == 2 * (4 * 16 * 16 + 3 * 16 * 48) + 5 * 16
    assert small.flops(128).training == 6 * (2 * (4 * 16 * 16 + 3 * 16 * 48) + 256 * 16) + 12 * 2 * 16 * 128


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 0}, "width must be a whole number of at least 1, but is 0"),
        ({"layers": 1.5}, "layers must be a whole number"),
        ({"heads": 3}, "width = 16 and heads = 3"),
        ({"heads": 0}, "heads must be a whole number of at least 1"),
        ({"positions": -1}, "positions must be a whole number of at least 0"),
        ({"hidden": True}, "hidden must be a whole number"),
    ],
)
def test_impossible_shapes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Shape(**{"vocab_size": 10, "width": 16, "layers": 1, "heads": 2, **fields})


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"does not describe a Transformer.*vocab_size"):
        Shape.of(SimpleNamespace(width=3))
    with pytest.raises(ValueError, match="context must be a whole number of at least 1, but is 0"):
        Shape.of(CONFIGS[0]).flops(0)
    for tokens in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tokens must be a number above 0"):
            training_flops(CONFIGS[0], tokens, 16)
