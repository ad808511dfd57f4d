"""LLaMA with changes taken back: against plain PyTorch, and as many parameters as are promised."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.generation import Sampler, generate
from llmlib.layers import LinearScaling
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
        ({"positions": "alibi"}, 0),
        ({"positions": "none"}, 0),
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
        (
            {"positions": "xpos"},
            "positions must be one of 'rope', 'learned', 'sinusoidal', 'alibi', 'none', but is 'xpos'",
        ),
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


@pytest.mark.parametrize("positions", ["alibi", "none"])
def test_alibi_and_no_positions_are_a_bias_of_the_scores_and_none(positions, monkeypatch):
    """Against PyTorch's decoder, with the slopes 1/4, 1/16, 1/64, 1/256 of four heads (arXiv:2108.12409, section 3)."""
    model = randomised(LlamaVariant(CONFIG, norm="layer", feed_forward="relu", positions=positions))
    causal = torch.ones(9, 9, dtype=torch.bool).tril()
    distance = (torch.arange(9)[:, None] - torch.arange(9)).double()
    slopes = torch.tensor([1 / 4, 1 / 16, 1 / 64, 1 / 256]).double().view(4, 1, 1)
    added = (-slopes * distance if positions == "alibi" else torch.zeros(4, 9, 9).double()).masked_fill(
        ~causal, float("-inf")
    )
    found, attend = model(IDS), F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda q, k, v, is_causal: attend(q, k, v, attn_mask=added)
    )
    torch.testing.assert_close(found, pytorchs(model.state_dict(), plain(F.relu), lambda x: x))


def test_without_positions_the_last_token_sees_a_bag_of_words():
    """With one block; two can tell the order, for the first lets each token know what came before it."""
    model = randomised(LlamaVariant(LlamaConfig(**SHAPE | {"layers": 1}), positions="none"))
    shuffled = torch.cat([IDS[:, :8].flip(1), IDS[:, 8:]], dim=1)
    torch.testing.assert_close(model(IDS)[:, -1], model(shuffled)[:, -1])
    deeper = randomised(LlamaVariant(CONFIG, positions="none"))
    assert (deeper(IDS)[:, -1] - deeper(shuffled)[:, -1]).abs().max() > 0.1


def test_rope_can_be_changed_in_a_copy():
    model = randomised(LlamaVariant(CONFIG))
    before = model(IDS)
    scaled = model.with_rope(base=500.0, scaling=LinearScaling(2.0))
    fresh = LlamaVariant(LlamaConfig(**SHAPE, hidden=40, rope_base=500.0, rope_scaling=LinearScaling(2.0)))
    fresh.double().load_state_dict(model.state_dict())
    torch.testing.assert_close(scaled(IDS), fresh(IDS), rtol=0, atol=0)
    assert (scaled.config, scaled.with_rope().config.rope_scaling) == (fresh.config, None)
    torch.testing.assert_close(model(IDS), before, rtol=0, atol=0)
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in scaled.parameters()}


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "alibi", "none"])
def test_there_is_no_rope_to_change_in_other_variants(positions):
    with pytest.raises(ValueError, match="no RoPE to change"):
        LlamaVariant(CONFIG, positions=positions).with_rope(base=500.0)
