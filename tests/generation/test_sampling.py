"""The distribution of the next token against the logits processors and warpers of Hugging Face."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers.generation.logits_process as hf
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.testing import assert_close
from transformers import GPT2Config, GPT2LMHeadModel

from llmlib.generation import Sampler
from llmlib.generation.sampling import distribution

V = 12
# Different logits, for Hugging Face treats equal ones in other ways. They have a test of their own.
logits_of_v = st.lists(
    st.floats(-20, 20, width=32).map(lambda x: round(x, 2)), min_size=V, max_size=V, unique=True
).map(lambda row: torch.tensor(row))
samplers = st.builds(
    Sampler,
    temperature=st.floats(0.05, 5),
    top_k=st.none() | st.integers(1, 2 * V),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
    repetition_penalty=st.none() | st.floats(0.5, 3),
)


def as_hugging_face_has_it(logits, sampler, previous):
    """Hugging Face's processors, in the order in which its ``generate`` applies them."""
    chain = [hf.TemperatureLogitsWarper(sampler.temperature)]
    if sampler.repetition_penalty is not None:
        chain.insert(0, hf.RepetitionPenaltyLogitsProcessor(sampler.repetition_penalty))
    if sampler.top_k is not None:
        chain.append(hf.TopKLogitsWarper(sampler.top_k))
    if sampler.top_p is not None:
        chain.append(hf.TopPLogitsWarper(sampler.top_p))
    if sampler.min_p is not None:
        chain.append(hf.MinPLogitsWarper(sampler.min_p))
    return hf.LogitsProcessorList(chain)(previous, logits).softmax(dim=-1)


@given(logits_of_v, samplers, st.lists(st.integers(0, V - 1), min_size=1, max_size=5))
def test_probabilities_and_kept_tokens_are_those_of_hugging_face(logits, sampler, previous):
    # In float64, so that the two, which round differently, agree on which side of a threshold a token is.
    logits, previous = logits.double()[None], torch.tensor([previous])
    expected = as_hugging_face_has_it(logits, sampler, previous)
    probabilities = distribution(logits, sampler, previous)
    assume(not on_a_threshold(logits, sampler, previous))
    assert torch.equal(probabilities > 0, expected > 0)
    assert_close(probabilities, expected)


def on_a_threshold(logits, sampler, previous):
    """Whether a hair's breadth in top-p or min-p would change what Hugging Face keeps."""
    kept = set()
    for hair in (-1e-9, 1e-9):
        nearby = {
            name: min(max(value + hair, 1e-12), 1.0)
            for name in ("top_p", "min_p")
            if (value := getattr(sampler, name)) is not None
        }
        moved = replace(sampler, **nearby)
        kept.add(tuple((as_hugging_face_has_it(logits, moved, previous) > 0).flatten().tolist()))
    return len(kept) > 1


def test_the_chain_is_that_of_hugging_faces_generate():
    """The order in which this file applies Hugging Face's processors is the order of its ``generate``."""
    model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    settings = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2}
    config = model.generation_config
    config.update(do_sample=True, **settings)
    chain = model._get_logits_processor(config, input_ids_seq_length=1)
    assert [type(processor).__name__ for processor in chain] == [
        "RepetitionPenaltyLogitsProcessor",
        "TemperatureLogitsWarper",
        "TopKLogitsWarper",
        "TopPLogitsWarper",
        "MinPLogitsWarper",
    ]


@given(logits_of_v, samplers)
def test_a_distribution_adds_up_to_one_and_keeps_the_most_probable_token(logits, sampler):
    previous = torch.tensor([0, 0, 3])
    probabilities = distribution(logits, sampler, previous)
    assert math.isclose(probabilities.sum(), 1, rel_tol=1e-5)
    penalised = distribution(logits, Sampler(repetition_penalty=sampler.repetition_penalty), previous)
    assert probabilities[penalised.argmax()] > 0


@given(logits_of_v)
def test_no_filter_is_softmax(logits):
    expected = np.exp(logits.double().numpy())
    assert_close(distribution(logits.double(), Sampler()).numpy(), expected / expected.sum())


@given(logits_of_v, st.floats(0.1, 2), st.floats(1.05, 4))
def test_entropy_rises_with_the_temperature(logits, temperature, factor):
    def entropy(t):
        p = distribution(logits.double(), Sampler(temperature=t))
        return torch.special.entr(p).sum()

    assert entropy(temperature) <= entropy(temperature * factor) + 1e-12


@given(logits_of_v)
def test_temperature_zero_is_greedy_and_the_limit_of_low_temperatures(logits):
    greedy = distribution(logits, Sampler(temperature=0))
    assert greedy.tolist() == [float(i == logits.argmax()) for i in range(V)]
    assert_close(distribution(logits, Sampler(temperature=1e-30)), greedy)


def test_greedy_heeds_the_repetition_penalty():
    logits = torch.tensor([2.0, 1.9, 0.0])
    assert distribution(logits, Sampler(0, repetition_penalty=2.0), torch.tensor([0])).argmax() == 1


def test_filters_by_hand():
    probabilities = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64)
    logits = probabilities.log()
    assert_close(distribution(logits, Sampler(top_k=2)).tolist(), [2 / 3, 1 / 3, 0.0, 0.0])
    assert_close(distribution(logits, Sampler(top_p=0.6)).tolist(), [2 / 3, 1 / 3, 0.0, 0.0])
    assert_close(distribution(logits, Sampler(min_p=0.4)).tolist(), [2 / 3, 1 / 3, 0.0, 0.0])
    assert_close(distribution(logits, Sampler(temperature=0.5)).tolist(), [16 / 22, 4 / 22, 1 / 22, 1 / 22])


def test_of_equal_tokens_the_first_stay():
    """Exactly k tokens and no more: a threshold would keep all of them."""
    logits = torch.zeros(1024)
    assert distribution(logits, Sampler(top_k=3)).nonzero().flatten().tolist() == [0, 1, 2]
    assert distribution(logits, Sampler(top_p=4 / 1024)).nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_top_p_of_one_keeps_what_is_improbable():
    """Summed from the other end, the last token would be lost in the rounding of float32."""
    logits = torch.tensor([0.0, -30.0])
    assert distribution(logits, Sampler(top_p=1.0))[1] > 0


def test_more_than_all_tokens_are_all_tokens():
    logits = torch.tensor([1.0, 2.0])
    assert_close(distribution(logits, Sampler(top_k=50)), logits.softmax(0))


def test_excluded_tokens_stay_excluded():
    logits = torch.tensor([-math.inf, 0.0, 1.0])
    everything = Sampler(0.7, top_k=3, top_p=1.0, min_p=0.0, repetition_penalty=1.5)
    assert distribution(logits, everything, torch.tensor([0, 1]))[0] == 0


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(2, 3, V).bfloat16()
    probabilities = distribution(logits, Sampler(top_p=0.9))
    assert probabilities.dtype == torch.float32
    assert_close(probabilities, distribution(logits.float(), Sampler(top_p=0.9)))


def test_rows_do_not_know_of_each_other():
    torch.manual_seed(0)
    logits, previous = torch.randn(3, 4, V), torch.randint(V, (3, 4, 6))
    sampler = Sampler(0.8, top_k=6, top_p=0.8, min_p=0.05, repetition_penalty=1.3)
    together = distribution(logits, sampler, previous)
    alone = [[distribution(logits[i, j], sampler, previous[i, j]) for j in range(4)] for i in range(3)]
    assert_close(together, torch.stack([torch.stack(row) for row in alone]))


@pytest.mark.parametrize(
    ("error", "message", "settings"),
    [
        (ValueError, "temperature must be finite, and 0 or above, but is -1", {"temperature": -1}),
        (ValueError, "temperature", {"temperature": math.nan}),
        (ValueError, "temperature", {"temperature": math.inf}),
        (TypeError, "temperature must be a number", {"temperature": None}),
        (TypeError, "temperature must be a number", {"temperature": "1"}),
        (ValueError, "top_k must be 1 or above, or None to switch it off, but is 0", {"top_k": 0}),
        (TypeError, "top_k must be a whole number", {"top_k": 2.0}),
        (TypeError, "top_k must be a whole number", {"top_k": True}),
        (ValueError, "top_p must be above 0 and at most 1", {"top_p": 0.0}),
        (ValueError, "top_p", {"top_p": 1.01}),
        (ValueError, "min_p must be between 0 and 1", {"min_p": -0.1}),
        (ValueError, "repetition_penalty must be finite and above 0", {"repetition_penalty": 0}),
    ],
)
def test_bad_settings_are_refused(error, message, settings):
    with pytest.raises(error, match=message):
        Sampler(**settings)


@pytest.mark.parametrize(
    ("error", "message", "logits"),
    [
        (ValueError, "highest logit is nan", [0.0, math.nan, 1.0]),
        (ValueError, "highest logit is inf", [0.0, math.inf, 1.0]),
        (ValueError, "all tokens are excluded", [-math.inf] * 3),
        (TypeError, "floating-point numbers, but are torch.int64", [1, 2, 3]),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_logits_are_refused(error, message, logits):
    with pytest.raises(error, match=message):
        distribution(torch.tensor(logits), Sampler())


def test_the_repetition_penalty_needs_the_tokens_so_far():
    with pytest.raises(ValueError, match="pass previous=ids"):
        distribution(torch.zeros(3), Sampler(repetition_penalty=1.1))
