"""Beam search against the search of all texts, and against Hugging Face's."""

import itertools

import pytest
import torch
from transformers import LlamaForCausalLM

from llmlib.generation import Sampler, beam_search, generate
from llmlib.models import Llama, LlamaConfig

V = 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=V, context=16, width=16, layers=2, heads=4, kv_heads=2, init_std=0.4)
    return Llama(config).eval()


@torch.no_grad()
def log_probability(model, prompt, new):
    logits = model(torch.tensor([[*prompt, *new]]))[0].double().log_softmax(-1)
    return sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(new))


PROMPT, LENGTH = [1, 4], 3


@pytest.fixture(scope="module")
def log_probabilities(model):
    """Of every text of at most three new tokens."""
    texts = [new for n in range(1, LENGTH + 1) for new in itertools.product(range(V), repeat=n)]
    return {new: log_probability(model, PROMPT, new) for new in texts}


def is_whole(new, stop):
    """Whether a text ends where it must: at a stop token, or where it may get no longer."""
    return not set(new[:-1]) & stop and (len(new) == LENGTH or new[-1] in stop)


@pytest.mark.parametrize("stop", [set(), {2}, {0, 3}], ids=str)
@pytest.mark.parametrize("penalty", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("cache", [True, False])
def test_with_enough_beams_it_finds_the_best_of_all_texts(model, log_probabilities, stop, penalty, cache):
    beams = V ** (LENGTH - 1)
    scored = [(p / len(new) ** penalty, new) for new, p in log_probabilities.items() if is_whole(new, stop)]
    best = sorted(scored, reverse=True)[:beams]
    found = beam_search(model, PROMPT, LENGTH, beams=beams, length_penalty=penalty, stop=stop, cache=cache)
    assert [beam.ids for beam in found] == [[*PROMPT, *new] for _, new in best]
    assert [beam.score for beam in found] == pytest.approx([score for score, _ in best], abs=1e-4)


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_it_finds_what_hugging_face_finds(model, tmp_path, beams):
    model.save_pretrained(tmp_path)
    peer = LlamaForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([[1, 4, 0]])
    theirs = peer.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        max_new_tokens=9,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
    )
    found = beam_search(model, ids[0], 9, beams=beams)
    assert [beam.ids for beam in found] == theirs.sequences.tolist()
    if beams > 1:
        assert [beam.score for beam in found] == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-5)


def test_one_beam_is_greedy(model):
    (beam,) = beam_search(model, [3], 8, beams=1, stop=2)
    assert beam.ids == generate(model, [3], 8, sampler=Sampler(temperature=0), stop=2)
    assert beam.log_probability == pytest.approx(log_probability(model, [3], beam.ids[1:]), abs=1e-5)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "beams ≥ 1", {"beams": 0}),
        (ValueError, "max_new_tokens ≥ 1", {"max_new_tokens": 0}),
        (TypeError, "beams must be a whole number", {"beams": 2.0}),
        (ValueError, "one prompt at a time", {"ids": [[1], [2]]}),
        (ValueError, "prompt is empty", {"ids": []}),
        (ValueError, "token ids from 0 to 4", {"stop": 5}),
        (TypeError, "must be token ids", {"stop": ["a"]}),
    ],
)
def test_bad_input_is_refused(model, error, message, arguments):
    with pytest.raises(error, match=message):
        beam_search(model, **{"ids": [1], "max_new_tokens": 3, **arguments})


def test_logits_that_are_no_numbers_are_refused():
    def model(ids):
        return torch.full((*ids.shape, V), torch.nan)

    with pytest.raises(ValueError, match="nan"):
        beam_search(model, [1], 2)
