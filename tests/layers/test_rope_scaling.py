"""The frequencies of RoPE, each kind against Hugging Face's."""

import dataclasses

import pytest
import torch

from llmlib.layers import (
    ROPE_SCALINGS,
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    RotaryEmbedding,
    YarnScaling,
    ntk_base,
    rope_frequencies,
)

SCALINGS = [
    RopeScaling(),
    LinearScaling(3.5),
    DynamicScaling(2.0, 64),
    DynamicScaling(1.0, 64),
    YarnScaling(4.0, 64),
    YarnScaling(16.0, 64, beta_fast=8, beta_slow=2, truncate=False),
    YarnScaling(4.0, 64, attention_factor=0.5),
    YarnScaling(4.0, 64, mscale=0.7, mscale_all_dim=1.3),
    YarnScaling(1.0, 64),
    YarnScaling(2.0, 100_000),
    Llama3Scaling(8.0, 64),
    Llama3Scaling(32.0, 8192, low_freq_factor=2, high_freq_factor=3),
]


def hugging_face(transformers, scaling, head_width, base):
    """Its LlamaRotaryEmbedding; the names of the settings are spelled out here, not taken from llama_format."""
    names = {"original_context": "original_max_position_embeddings"}
    fields = dataclasses.asdict(scaling)
    settings = {names.get(name, name): value for name, value in fields.items() if value is not None}
    context = fields.get("original_context", 64)
    if scaling.kind == "dynamic":
        del settings["original_max_position_embeddings"]
    config = transformers.LlamaConfig(
        hidden_size=2 * head_width,
        num_attention_heads=2,
        max_position_embeddings=context,
        rope_parameters={"rope_type": scaling.kind, "rope_theta": base, **settings},
    )
    return transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)


def test_every_kind_is_compared():
    assert {scaling.kind for scaling in SCALINGS} == set(ROPE_SCALINGS)
    assert {type(scaling) for scaling in SCALINGS} == set(ROPE_SCALINGS.values())


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
@pytest.mark.parametrize(("head_width", "base"), [(16, 10_000.0), (64, 500_000.0), (4, 100.0)])
def test_frequencies_and_angles_are_those_of_hugging_face(transformers, scaling, head_width, base):
    for length in (1, 64, 65, 200):
        # A new one, for the dynamic kind remembers.
        theirs = hugging_face(transformers, scaling, head_width, base)
        cos, sin = theirs(torch.zeros(()), torch.arange(length)[None])
        positions = torch.arange(length)
        found = scaling.frequencies(head_width, base, positions)
        torch.testing.assert_close(found, theirs.inv_freq, rtol=2e-6, atol=0)
        assert scaling.amplitude == pytest.approx(theirs.attention_scaling)
        ours = RotaryEmbedding(head_width, base, scaling=scaling).rotation(positions)
        for mine, other in zip(ours, (cos, sin), strict=True):
            torch.testing.assert_close(mine.repeat(1, 2), other[0], rtol=0, atol=1e-4)


def test_frequencies_by_hand():
    torch.testing.assert_close(rope_frequencies(6, 1000.0), torch.tensor([1, 0.1, 0.01]))
    assert rope_frequencies(128)[0] == 1


def test_dynamic_scaling_slows_the_slowest_pair_to_the_length_and_leaves_the_fastest():
    plain, stretched = (
        scaling.frequencies(16, 10_000.0, torch.arange(256))
        for scaling in (RopeScaling(), DynamicScaling(1.0, 64))
    )
    assert stretched[0] == plain[0]
    torch.testing.assert_close(stretched[-1], plain[-1] / 4)  # 256 positions in place of 64


@pytest.mark.parametrize("scaling", [YarnScaling(8.0, 4096), Llama3Scaling(8.0, 4096)], ids=str)
def test_fast_pairs_stay_and_slow_pairs_are_interpolated(scaling):
    plain = rope_frequencies(128)
    ratio = plain / scaling.frequencies(128, 10_000.0, torch.arange(3))
    turns = 4096 * plain / (2 * torch.pi)
    torch.testing.assert_close(ratio[turns > 40], torch.ones(int((turns > 40).sum())))
    torch.testing.assert_close(ratio[turns < 0.8], torch.full((int((turns < 0.8).sum()),), 8.0))
    assert (ratio.diff() > -1e-4).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearScaling(0.5), "factor of RoPE must be a number of at least 1, but is 0.5"),
        (lambda: LinearScaling("2"), "but is '2'"),
        (lambda: DynamicScaling(float("nan"), 64), "but is nan"),
        (lambda: YarnScaling(2.0, 0), "original_context, .* must be a whole number of at least 1, but is 0"),
        (lambda: Llama3Scaling(2.0, 8192.5), "but is 8192.5"),
        (lambda: YarnScaling(2.0, 64, beta_fast=1, beta_slow=2), "beta_fast ≥ beta_slow > 0"),
        (lambda: Llama3Scaling(2.0, 64, low_freq_factor=4), "high_freq_factor > low_freq_factor > 0"),
        (
            lambda: DynamicScaling(2.0, 4).frequencies(2, 1e4, torch.arange(9)),
            "head width of at least 4, not 2",
        ),
    ],
)
def test_refuses_what_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("head_width", "base", "factor"), [(24, 10_000.0, 4.0), (128, 500_000.0, 1.0), (4, 50.0, 9.5)]
)
def test_ntk_aware_scaling_is_hugging_faces_dynamic_kind_at_that_length(
    transformers, head_width, base, factor
):
    """With a factor of 1, its base at length n is the one for a context that has grown n / 64 times."""
    theirs = hugging_face(transformers, DynamicScaling(1.0, 64), head_width, base)
    theirs(torch.zeros(()), torch.arange(int(64 * factor))[None])
    found = rope_frequencies(head_width, ntk_base(base, factor, head_width))
    torch.testing.assert_close(found, theirs.inv_freq, rtol=2e-6, atol=0)


def test_ntk_aware_scaling_by_hand():
    """10,000 · 4^(24/22): the slowest pair four times as slow, the fastest as it was."""
    assert ntk_base(10_000.0, 4, 24) == pytest.approx(45_372.5, abs=0.01)
    slower = rope_frequencies(24) / rope_frequencies(24, ntk_base(10_000.0, 4, 24))
    assert slower[[0, -1]].tolist() == pytest.approx([1, 4], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1e4, 0.5, 8), "at least 1, but is 0.5"),
        ((1e4, 2.0, 2), "even head width of at least 4, not 2"),
        ((1e4, 2.0, 7), "even head width of at least 4, not 7"),
    ],
)
def test_ntk_aware_scaling_refuses_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk_base(*arguments)
