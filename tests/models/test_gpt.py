"""GPT against Hugging Face's GPT-2 with the same weights, and what must hold of any GPT."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlib.attention import masks
from llmlib.layers import capture
from llmlib.models import GPT, GPTConfig

ACTIVATIONS = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}
SMALL = {"vocab_size": 29, "context": 12, "width": 12, "layers": 2, "heads": 3}


def small(**changes):
    """A small GPT in float64, with random biases and gains too."""
    model = GPT(GPTConfig(**{**SMALL, **changes})).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def hugging_face(transformers, model):
    """GPT2LMHeadModel with the weights of a GPT, and the pairs of its layers and ours.

    They are copied one by one, so that nothing rests on save_pretrained.
    """
    c = model.config
    theirs = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=c.vocab_size,
            n_positions=c.context,
            n_embd=c.width,
            n_layer=c.layers,
            n_head=c.heads,
            n_inner=c.hidden,
            activation_function=ACTIVATIONS[c.activation],
            layer_norm_epsilon=c.eps,
            tie_word_embeddings=c.tied,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    stack = theirs.double().eval().transformer
    layers = [(stack.wte, model.tokens), (stack.wpe, model.positions), (stack.ln_f, model.final_norm)]
    layers += [] if c.tied else [(theirs.lm_head, model.unembedding)]
    for block, ours in zip(stack.h, model.blocks, strict=True):
        layers += [
            (block.ln_1, ours.attention_norm),
            (block.attn.c_attn, ours.attention.qkv),
            (block.attn.c_proj, ours.attention.out),
            (block.ln_2, ours.feed_forward_norm),
            (block.mlp.c_fc, ours.feed_forward.up),
            (block.mlp.c_proj, ours.feed_forward.down),
        ]
    for their_layer, our_layer in layers:
        turned = type(their_layer).__name__ == "Conv1D"  # which holds its weights as (in, out)
        for name, weight in our_layer.named_parameters():
            getattr(their_layer, name).data.copy_(weight.T if turned and name == "weight" else weight)
    return theirs, layers


@st.composite
def configs(draw):
    heads = draw(st.integers(1, 4))
    return GPTConfig(
        vocab_size=draw(st.integers(2, 40)),
        context=draw(st.integers(1, 12)),
        width=heads * draw(st.integers(1, 6)),
        layers=draw(st.integers(1, 3)),
        heads=heads,
        hidden=draw(st.sampled_from([None, 7, 24])),
        activation=draw(st.sampled_from(list(ACTIVATIONS))),
        tied=draw(st.booleans()),
        eps=draw(st.sampled_from([1e-5, 1e-2])),
    )


@settings(max_examples=12, deadline=None)
@given(config=configs(), data=st.data())
def test_logits_and_gradients_are_those_of_hugging_face(transformers, config, data):
    model = small(**{name: getattr(config, name) for name in config.__dataclass_fields__})
    theirs, layers = hugging_face(transformers, model)
    length = data.draw(st.integers(1, config.context))
    ids, targets = torch.randint(config.vocab_size, (2, 2, length))
    logits = model(ids)
    expected = theirs(ids).logits
    torch.testing.assert_close(logits, expected)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    theirs.loss_function(expected, None, config.vocab_size, shift_labels=targets).backward()
    for their_layer, our_layer in layers:
        for name, weight in our_layer.named_parameters():
            gradient = getattr(their_layer, name).grad
            turned = type(their_layer).__name__ == "Conv1D" and name == "weight"
            torch.testing.assert_close(weight.grad, gradient.T if turned else gradient)


@pytest.mark.parametrize(
    ("preset", "total"),
    [
        # counted by Hugging Face for the published models
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_gpt2_has_its_published_number_of_parameters(preset, total):
    with torch.device("meta"):
        model = GPT(GPTConfig.preset(preset))
    assert model.num_parameters() == total


def test_the_number_without_embeddings_is_kaplans(transformers):
    with torch.device("meta"):
        model = GPT(GPTConfig.preset("gpt2"))
        theirs = transformers.GPT2Model(transformers.GPT2Config())
    assert model.num_parameters(embeddings=False) == theirs.num_parameters(exclude_embeddings=True)
    matrices = 12 * 12 * 768**2  # N = 12 L C², Kaplan et al. 2020, equation 2.1, which leaves out vectors
    assert model.num_parameters(embeddings=False) == pytest.approx(matrices, rel=2e-3)


@pytest.mark.parametrize("preset", [name for name in GPTConfig.presets() if name.startswith("gpt3")])
def test_gpt3_sizes_are_near_their_names(preset):
    with torch.device("meta"):
        count = GPT(GPTConfig.preset(preset)).num_parameters()
    size = preset.removeprefix("gpt3-")
    assert count == pytest.approx(float(size[:-1]) * {"m": 1e6, "b": 1e9}[size[-1]], rel=0.02)


def test_opt_is_hugging_faces_but_for_two_unused_positions(transformers):
    with torch.device("meta"):
        model = GPT(GPTConfig.preset("opt-125m"))
        theirs = transformers.OPTForCausalLM(transformers.OPTConfig())
    assert model.num_parameters() + 2 * 768 == theirs.num_parameters()


def test_tying_saves_one_matrix_of_the_vocabulary():
    assert small(tied=False).num_parameters() - small().num_parameters() == 29 * 12
    assert not any(name.startswith("unembedding") for name in small().state_dict())


@pytest.mark.parametrize("norm", ["pre", "post", "normformer"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "none"])
def test_a_change_of_a_token_changes_nothing_before_it(norm, positions):
    model = small(norm=norm, positions=positions)
    ids = torch.randint(29, (2, 10))
    changed = ids.clone()
    changed[:, 6] = (ids[:, 6] + 1) % 29
    before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :6], after[:, :6], rtol=0, atol=0)
    assert (before[:, 6:] - after[:, 6:]).abs().amax(-1).gt(1e-6).all()


def test_a_full_mask_lets_every_position_see_every_other():
    ids = torch.randint(29, (1, 8))
    changed = ids.clone()
    changed[:, 6] = (ids[:, 6] + 1) % 29
    model = small(mask="full")
    assert (model(ids) - model(changed)).abs().amax(-1).gt(1e-6).all()


def test_a_prefix_is_read_in_both_directions_and_the_rest_is_causal():
    model, ids = small(), torch.randint(29, (1, 8))

    def sees(position):
        changed = ids.clone()
        changed[:, position] = (ids[:, position] + 1) % 29
        difference = model(ids, mask=masks.prefix(3)) - model(changed, mask=masks.prefix(3))
        return difference[0].abs().amax(-1).gt(1e-9).int().tolist()

    assert sees(2) == [1] * 8
    assert sees(5) == [0] * 5 + [1] * 3


def test_without_positions_and_mask_it_is_permutation_equivariant():
    ids, order = torch.randint(29, (2, 9)), torch.randperm(9)
    model = small(positions="none", mask="full")
    torch.testing.assert_close(model(ids[:, order]), model(ids)[:, order])
    for positions in ("learned", "sinusoidal"):
        model = small(positions=positions, mask="full")
        assert (model(ids[:, order]) - model(ids)[:, order]).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["sinusoidal", "none"])
def test_only_learned_positions_bind_the_model_to_its_context(positions):
    assert small(positions=positions)(torch.zeros(1, 20).long()).shape == (1, 20, 29)
    with pytest.raises(ValueError, match="20 positions, but this model has learned vectors for 12"):
        small()(torch.zeros(1, 20).long())


def test_sinusoidal_positions_are_added_to_scaled_token_vectors():
    model = small(positions="sinusoidal")
    with capture(model) as seen:
        model(torch.tensor([[3, 4]]))
    angles = [1 / 10_000 ** (2 * i / 12) for i in range(6)]
    second = torch.tensor([f(angle) for angle in angles for f in (math.sin, math.cos)])
    expected = model.tokens.weight[4] * math.sqrt(12) + second
    torch.testing.assert_close(seen.hidden[0][0, 1], expected, rtol=0, atol=1e-6)


def test_capture_sees_every_layer():
    model = small(layers=3)
    with capture(model) as seen:
        logits = model(torch.randint(29, (2, 7)))
    assert [tuple(weights.shape) for weights in seen.attention] == [(2, 3, 7, 7)] * 3
    assert [tuple(states.shape) for states in seen.hidden] == [(2, 7, 12)] * 4
    torch.testing.assert_close(logits, model.logits(model.final_norm(seen.hidden[-1])))


@pytest.mark.parametrize(("norm", "scaled"), [("pre", True), ("normformer", True), ("post", False)])
def test_starts_from_the_weights_of_gpt2(norm, scaled):
    model = GPT(GPTConfig(vocab_size=500, context=100, width=96, layers=8, heads=4, norm=norm))
    block = model.blocks[3]
    for layer in (model.tokens, model.positions, block.attention.qkv, block.feed_forward.up):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
    for weight in (block.attention.out.weight, block.feed_forward.down.weight):
        assert weight.std().item() == pytest.approx(0.02 / math.sqrt(16) if scaled else 0.02, rel=0.05)
    assert not block.attention.qkv.bias.any()
    assert (block.attention_norm.weight == 1).all()


def test_an_untrained_model_is_as_good_as_chance():
    model, ids = GPT(GPTConfig(**SMALL)), torch.randint(29, (4, 13))
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert loss.item() == pytest.approx(math.log(29), abs=0.05)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.tensor([[0, 29]]), ValueError, r"in 0 … 28 .*, but there is 29"),
        (torch.tensor([[-1, 2]]), ValueError, "but there is -1"),
        (torch.tensor([1, 2]), ValueError, r"shape \(B, T\), but have \(2,\)"),
        (torch.zeros(1, 0).long(), ValueError, r"shape \(B, T\), but have \(1, 0\)"),
        (torch.zeros(1, 3), TypeError, r"must be whole numbers, but are torch\.float32"),
    ],
)
def test_refuses_ids_that_it_cannot_read(ids, error, message):
    with pytest.raises(error, match=message):
        small()(ids)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 10, "heads": 4}, "multiple of the number of heads, but width = 10 and heads = 4"),
        ({"layers": 0}, "layers must be a whole number of at least 1, but is 0"),
        ({"vocab_size": 2.5}, "vocab_size must be a whole number of at least 1, but is 2.5"),
        ({"hidden": -1}, "hidden must be"),
        ({"norm": "sandwich"}, "norm must be one of 'pre', 'post', 'normformer', but is 'sandwich'"),
        ({"positions": "rotary"}, "positions must be one of"),
        ({"mask": "prefix"}, "mask must be one of 'causal', 'full'"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"positions": "sinusoidal", "width": 9, "heads": 3}, "need an even width, but width = 9"),
        ({"eps": 0}, "eps must be a number above 0"),
    ],
)
def test_refuses_a_shape_that_cannot_be(fields, message):
    with pytest.raises(ValueError, match=message):
        GPTConfig(**fields)


def test_presets_can_be_changed_and_are_listed():
    assert GPTConfig.preset("gpt2") == GPTConfig()
    assert GPTConfig.preset("gpt3-175b", context=64).context == 64
    with pytest.raises(ValueError, match=r"no preset 'gpt5'; there are gpt2, gpt2-medium, .*opt-175b"):
        GPTConfig.preset("gpt5")


def test_compiles_into_one_graph():
    """In a process of its own, since the checks of annotations cannot be compiled."""
    program = """
import torch
from llmlib.attention import masks
from llmlib.models import GPT, GPTConfig
model = GPT(GPTConfig(vocab_size=11, context=8, width=8, layers=2, heads=2, norm="normformer"))
compiled, ids = torch.compile(model, fullgraph=True, backend="eager"), torch.randint(11, (2, 5))
for mask in (None, masks.prefix(2) & masks.block_local(3)):
    torch.testing.assert_close(compiled(ids, mask=mask), model(ids, mask=mask))
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
