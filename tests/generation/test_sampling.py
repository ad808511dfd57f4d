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
from llmlib.generation.sampling import choose, distribution

V = 12
logits_of_v = st.lists(
    st.floats(-20, 20, width=32).map(lambda x: round(x, 2)), min_size=V, max_size=V, unique=True
).map(lambda row: torch.tensor(row))
# Few different values, so that many are equal, and some tokens that are excluded.
tied_logits = st.lists(st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 30.0]), min_size=V, max_size=V).map(
    torch.tensor
)
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


@given(logits_of_v | tied_logits, samplers, st.lists(st.integers(0, V - 1), min_size=1, max_size=5))
def test_probabilities_and_kept_tokens_are_those_of_hugging_face(logits, sampler, previous):
    assume(logits.isfinite().any())
    # In float64, so that the two, which round differently, agree on which side of a threshold a token is.
    logits, previous = logits.double()[None], torch.tensor([previous])
    assume(not on_a_threshold(logits, sampler, previous))
    compare(logits, sampler, previous)


def compare(logits, sampler, previous):
    expected = as_hugging_face_has_it(logits, sampler, previous)
    probabilities = distribution(logits, sampler, previous)
    assert torch.equal(probabilities > 0, expected > 0)
    assert_close(probabilities, expected)


ROWS = {
    "all equal": [0.0] * 4,
    "two pairs": [1.0, 0.0, 1.0, 0.0],
    "all mass on one": [-math.inf, 0.0, -math.inf, -math.inf],
    "almost all mass on one": [0.0, 200.0, 0.0, -200.0],
    "some excluded": [-math.inf, 0.5, 0.25, -math.inf],
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize(
    "settings",
    [
        *({"top_p": p} for p in (0.0, 0.5, 0.75, 1.0)),
        *({"min_p": p} for p in (0.0, 0.5, 1.0)),
        *({"top_k": k} for k in (1, 3, 4, 1000)),
        {"temperature": 0.01},
        {"temperature": 100.0, "top_k": 2, "top_p": 0.6, "min_p": 0.5},
    ],
    ids=str,
)
def test_edges_are_those_of_hugging_face(row, settings):
    for dtype in (torch.float32, torch.float64):
        compare(torch.tensor([row], dtype=dtype), Sampler(**settings), torch.tensor([[0]]))


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


def test_of_equal_tokens():
    """Top-k keeps all that are as probable as the k-th; top-p keeps as few as it needs."""
    logits = torch.zeros(1024)
    assert distribution(logits, Sampler(top_k=3)).count_nonzero() == 1024
    assert distribution(logits, Sampler(top_p=4 / 1024)).nonzero().flatten().tolist() == [
        1020,
        1021,
        1022,
        1023,
    ]


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(),
        Sampler(0.6, top_k=5),
        Sampler(1.5, top_p=0.8),
        Sampler(2.0, min_p=0.2),
        Sampler(top_k=2, repetition_penalty=3.0),
        Sampler(0),
    ],
    ids=str,
)
def test_draws_are_as_frequent_as_the_distribution_says(sampler):
    """Pearson's chi-square test of 5,000 draws; the exact tail probability is the regularised gamma function."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(V, generator=generator)
    draws, previous = 5000, torch.tensor([3, 7])
    p = distribution(logits.double(), sampler, previous)
    tokens = choose(logits.expand(draws, V), sampler, previous.expand(draws, 2), generator)
    counts = tokens.bincount(minlength=V)
    assert not counts[p == 0].any()
    kept = p > 0
    expected = draws * p[kept]
    assert expected.min() >= 5, "or the test is not valid"
    statistic = ((counts[kept] - expected) ** 2 / expected).sum()
    freedom = kept.sum() - 1
    if freedom:
        assert torch.special.gammaincc(freedom / 2, statistic / 2) > 0.001


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
        (ValueError, "top_p must be between 0 and 1, or None", {"top_p": -0.1}),
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
