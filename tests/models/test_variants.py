"""LLaMA with changes taken back: against plain PyTorch, and as many parameters as are promised."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.generation import Sampler, generate
from llmlib.models import Llama, LlamaConfig, LlamaVariant

SHAPE = {"vocab_size": 29, "context": 12, "width": 16, "layers": 2, "heads": 4, "tied": True}
CONFIG = LlamaConfig(**SHAPE, hidden=40)
IDS = torch.randint(29, (3, 9), generator=torch.Generator().manual_seed(0))


def randomised(model):
    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double()


def pytorchs(weights, feed_forward, positions):
    """The logits of a Pre-LN decoder with layer norms, from its weights by name, in PyTorch's functions."""

    def norm(x, name):
        return F.layer_norm(x, (16,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    def product(x, part, layer):
        return x @ weights[f"{layer}.{part}.weight"].T

    x = weights["tokens.weight"][IDS]
    x = positions(x)
    for i in range(2):
        y, at = norm(x, f"blocks.{i}.attention_norm"), f"blocks.{i}.attention"
        q, k, v = (
            product(y, part, at).view(3, 9, 4, 4).transpose(1, 2) for part in ("query", "key", "value")
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)
        x = x + product(y, "out", at)
        y = norm(x, f"blocks.{i}.feed_forward_norm")
        x = x + feed_forward(y, partial(product, layer=f"blocks.{i}.feed_forward"))
    return norm(x, "final_norm") @ weights["tokens.weight"].T


def plain(activation):
    return lambda x, product: product(activation(product(x, "up")), "down")


def gated(gate):
    return lambda x, product: product(gate(product(x, "gate")) * product(x, "up"), "down")


def sinusoidal(x):
    """sin(t · 10000^(−2i/C)) at 2i and cos at 2i + 1 (arXiv:1706.03762, section 3.5), added to √C times the tokens."""
    angle = torch.outer(torch.arange(9.0).double(), 10_000 ** -(torch.arange(0, 16, 2).double() / 16))
    return 4 * x + torch.stack([angle.sin(), angle.cos()], dim=-1).view(9, 16)


@pytest.mark.parametrize(
    ("kind", "feed_forward"),
    [
        ("relu", plain(F.relu)),
        ("gelu", plain(F.gelu)),
        ("reglu", gated(F.relu)),
        ("swiglu", gated(F.silu)),
    ],
)
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_with_layer_norms_and_added_positions_it_is_a_plain_decoder(kind, feed_forward, positions):
    model = randomised(LlamaVariant(CONFIG, norm="layer", feed_forward=kind, positions=positions))
    weights = model.state_dict()
    add = (lambda x: x + weights["positions.weight"][:9]) if positions == "learned" else sinusoidal
    # Sinusoids are computed in float32.
    torch.testing.assert_close(model(IDS), pytorchs(weights, feed_forward, add), rtol=1e-5, atol=1e-5)


def test_with_nothing_taken_back_it_is_a_llama():
    variant, llama = randomised(LlamaVariant(CONFIG)), Llama(CONFIG).double()
    llama.load_state_dict(variant.state_dict())
    torch.testing.assert_close(variant(IDS), llama(IDS), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"feed_forward": "relu"}, 0),
        ({"feed_forward": "gelu_tanh"}, 0),
        ({"feed_forward": "bilinear"}, 0),
        ({"positions": "sinusoidal"}, 0),
        ({"norm": "layer"}, 5 * 16),  # the shifts of five norms
        ({"positions": "learned"}, 12 * 16),
    ],
)
def test_has_as_many_parameters_but_for_shifts_and_learned_positions(changes, more):
    assert LlamaVariant(CONFIG, **changes).num_parameters() == Llama(CONFIG).num_parameters() + more


def test_its_weights_begin_as_a_llamas_do():
    torch.manual_seed(0)
    model = LlamaVariant(LlamaConfig(**SHAPE | {"width": 64}), feed_forward="relu", positions="learned")
    ff = model.blocks[0].feed_forward
    for weight, expected in (
        (ff.up.weight, 0.02),
        (ff.down.weight, 0.02 / 2),
        (model.positions.weight, 0.02),
    ):
        assert weight.std().item() == pytest.approx(expected, rel=0.1)


def test_a_longer_text_than_the_learned_positions_is_refused():
    with pytest.raises(ValueError, match="9 positions, but this model has learned vectors for 4"):
        LlamaVariant(LlamaConfig(**SHAPE | {"context": 4}), positions="learned")(IDS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "batch"}, "norm must be one of 'rms', 'layer', but is 'batch'"),
        ({"feed_forward": "swish"}, "feed_forward must be one of 'glu', .*'gelu_tanh', but is 'swish'"),
        ({"positions": "none"}, "positions must be one of 'rope', 'learned', 'sinusoidal', but is 'none'"),
    ],
)
def test_names_the_choices_that_there_are(changes, message):
    with pytest.raises(ValueError, match=message):
        LlamaVariant(CONFIG, **changes)


def test_a_plain_layer_needs_a_whole_width():
    with pytest.raises(ValueError, match="hidden = 41 is odd"):
        LlamaVariant(LlamaConfig(**SHAPE, hidden=41), feed_forward="relu")


def test_it_is_not_saved_as_what_it_is_not(tmp_path):
    with pytest.raises(NotImplementedError, match="no checkpoint format"):
        LlamaVariant(CONFIG).save_pretrained(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_it_takes_no_cache_and_says_so():
    model = LlamaVariant(
        LlamaConfig(vocab_size=11, context=8, width=16, layers=1, heads=2), positions="learned"
    )
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="cache=False"):
        generate(model, ids, 2, sampler=Sampler(temperature=0))
    assert generate(model, ids, 2, sampler=Sampler(temperature=0), cache=False).shape == (1, 5)
