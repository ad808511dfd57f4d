"""Generation against Hugging Face's greedy search, and against what can be worked out by hand."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaForCausalLM

from llmlib.attention import Mask
from llmlib.generation import Sampler, SlidingWindowCache, StaticCache, decoders, generate, stream
from llmlib.generation.steps import step
from llmlib.models import GPT, RNN, GPTConfig, KneserNey, Llama, LlamaConfig, RNNConfig

V = 9
GREEDY = Sampler(temperature=0)


class Successor(nn.Module):
    """After token i it expects i + 1, and remembers what it was shown."""

    def __init__(self, context=None):
        super().__init__()
        self.vocab_size, self.context, self.dropout = V, context, nn.Dropout(0.5)
        self.shown = []

    def forward(self, ids):
        self.shown.append(ids.clone())
        assert not torch.is_grad_enabled()
        return 10 * self.dropout(torch.eye(V)[(ids + 1) % V])


@pytest.fixture
def rnn():
    torch.manual_seed(0)
    return RNN(RNNConfig(vocab_size=V, width=8))


def test_greedy_text_is_that_of_hugging_face(tmp_path):
    torch.manual_seed(0)
    peer = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    for weight in peer.parameters():
        weight.data.mul_(5)  # sharper than at the start: no near-ties that rounding could decide
    peer.save_pretrained(tmp_path)
    ids = torch.randint(50, (3, 5))
    expected = peer.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(generate(GPT.from_pretrained(tmp_path), ids, 20, sampler=GREEDY), expected)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ([3, 4], [3, 4, 5, 6, 7]),
        (torch.tensor([3, 4]), torch.tensor([3, 4, 5, 6, 7])),
        (torch.tensor([[3, 4], [0, 7]]), torch.tensor([[3, 4, 5, 6, 7], [0, 7, 8, 0, 1]])),
    ],
)
def test_the_text_comes_back_as_the_prompt_came(prompt, expected):
    text = generate(Successor(), prompt, 3, sampler=GREEDY)
    assert type(text) is type(expected)
    np.testing.assert_array_equal(text, expected)


def test_integers_of_other_sizes_stay_what_they_are():
    assert generate(Successor(), torch.tensor([1], dtype=torch.int32), 2, sampler=GREEDY).dtype == torch.int32


def test_no_new_tokens_are_no_work():
    model = Successor()
    assert generate(model, [1, 2], 0) == [1, 2]
    assert torch.equal(generate(model, torch.tensor([[1], [2]]), 0), torch.tensor([[1], [2]]))
    assert not model.shown


def test_a_text_ends_with_its_stop_token():
    assert generate(Successor(), [2], 10, sampler=GREEDY, stop=5) == [2, 3, 4, 5]
    assert generate(Successor(), [2], 10, sampler=GREEDY, stop={7, 4}) == [2, 3, 4]
    assert generate(Successor(), [5], 2, sampler=GREEDY, stop=5) == [5, 6, 7], (
        "a stop token of the prompt counts"
    )


def test_texts_that_ended_wait_for_the_others():
    texts = generate(Successor(), torch.tensor([[3], [1], [5]]), 10, sampler=GREEDY, stop=5).tolist()
    assert texts[0] == [3, 4, 5, 5, 5, 5, 5, 5, 5, 5]
    assert texts[1] == [1, 2, 3, 4, 5, 5, 5, 5, 5, 5]
    assert texts[2] == [5, 6, 7, 8, 0, 1, 2, 3, 4, 5]  # the prompt's stop token does not count
    both = generate(Successor(), torch.tensor([[3], [1]]), 10, sampler=GREEDY, stop=5)
    assert both.tolist() == [[3, 4, 5, 5, 5], [1, 2, 3, 4, 5]], "nothing is added when all have ended"


def test_a_text_that_outgrows_the_context_is_shown_from_behind():
    model = Successor(context=3)
    assert generate(model, [2, 3], 4, sampler=GREEDY) == [2, 3, 4, 5, 6, 7]
    assert [shown.tolist() for shown in model.shown] == [[[2, 3]], [[2, 3, 4]], [[3, 4, 5]], [[4, 5, 6]]]


def test_a_prompt_that_is_longer_than_the_context_is_refused():
    model = GPT(GPTConfig(vocab_size=V, context=3, width=8, layers=1, heads=2))
    with pytest.raises(ValueError, match=r"has 4 tokens, but the model reads at most 3: .* ids\[-3:\]"):
        generate(model, [0, 1, 2, 3], 1)


def test_gpt_writes_beyond_its_context():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=V, context=4, width=8, layers=1, heads=2))
    text = generate(model, [1, 2, 3], 6, sampler=GREEDY)
    for end in range(4, len(text) + 1):
        with torch.no_grad():
            logits = model(torch.tensor([text[max(0, end - 5) : end - 1]]))
        assert text[end - 1] == logits[0, -1].argmax()


def test_a_seed_repeats_a_text(rnn):
    text = generate(rnn, [1], 40, seed=1)
    assert generate(rnn, [1], 40, seed=1) == text
    assert generate(rnn, [1], 40, seed=2) != text
    torch.manual_seed(5)
    drawn = generate(rnn, [1], 40)
    torch.manual_seed(5)
    assert generate(rnn, [1], 40) == drawn


def test_a_seed_leaves_the_global_generator_alone(rnn):
    before = torch.get_rng_state()
    generate(rnn, [1], 5, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_tokens_are_drawn_as_often_as_the_distribution_says():
    """3,000 draws: a frequency within 5 standard deviations of its probability."""
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])

    def model(ids):
        return probabilities.log().expand(*ids.shape, 5)

    drawn = generate(model, torch.zeros(3000, 1, dtype=torch.long), 1, seed=0)[:, 1]
    frequencies = drawn.bincount(minlength=5) / 3000
    assert (
        (frequencies - probabilities).abs() <= 5 * (probabilities * (1 - probabilities) / 3000).sqrt()
    ).all()


def test_the_sampler_is_used():
    model = KneserNey.fit([0, 1, 2, 3, 2] * 5, 4, order=1)
    kept = generate(model, [0], 50, sampler=Sampler(top_k=1), seed=0)[1:]
    assert set(kept) == {2}
    assert len(set(generate(model, [0], 50, seed=0))) == 4
    alternating = generate(model, [0], 8, sampler=Sampler(temperature=0, repetition_penalty=10.0))
    assert set(alternating[:4]) == {0, 1, 2, 3}, "the penalty sees all tokens so far"
    prompts = [[0], [1, 3, 1], [2, 0]]
    sampler = Sampler(temperature=0, repetition_penalty=1.5)
    alone = [generate(model, prompt, 8, sampler=sampler) for prompt in prompts]
    assert generate(model, prompts, 8, sampler=sampler) == alone, (
        "and of prompts of different lengths, each its own"
    )


def test_an_ngram_model_writes_what_it_read():
    sentence = [3, 1, 4, 0, 5, 2, 6]
    model = KneserNey.fit(sentence * 4, 7, order=3)
    assert generate(model, [3, 1], 12, sampler=GREEDY) == (sentence * 2)[:14]


def test_streaming_gives_the_tokens_of_generate_one_by_one(rnn):
    text = generate(rnn, [1, 2], 10, seed=3)
    assert list(stream(rnn, [1, 2], 10, seed=3)) == text[2:]
    assert all(type(token) is int for token in stream(rnn, [1], 3))
    batch = torch.tensor([[1], [2]])
    columns = torch.stack(list(stream(rnn, batch, 10, seed=3)), dim=1)
    assert torch.equal(torch.cat([batch, columns], dim=1), generate(rnn, batch, 10, seed=3))


def test_streaming_computes_a_token_when_it_is_asked_for():
    model = Successor()
    first = list(itertools.islice(stream(model, [0], 1000, sampler=GREEDY), 2))
    assert first == [1, 2]
    assert len(model.shown) == 2


def test_a_model_in_training_is_asked_without_dropout_and_left_in_training():
    model = nn.Sequential(Successor())
    model.train()
    model[0].dropout.eval()
    model[0].dropout.p = 0.9
    tokens = stream(model, [0], 3, sampler=GREEDY)
    assert next(tokens) == 1
    assert torch.is_grad_enabled(), "between two tokens the caller may train"
    assert model.training
    assert model[0].training
    assert not model[0].dropout.training, "what the caller had switched off stays off"
    model[0].dropout.train()
    assert generate(model, [0], 8, sampler=GREEDY) == list(range(9))
    assert model[0].dropout.training


@pytest.mark.parametrize(
    ("error", "message", "prompt", "options"),
    [
        (ValueError, "prompt is empty", [], {}),
        (ValueError, "prompt is empty", torch.zeros(1, 0, dtype=torch.long), {}),
        (ValueError, "vocabulary of this model.* there is 9", [1, 9], {}),
        (TypeError, "whole numbers", torch.tensor([[0.5]]), {}),
        (TypeError, "list of token ids or a tensor, but is a str", "text", {}),
        (ValueError, r"shape \(B, T\)", torch.zeros(1, 1, 1, dtype=torch.long), {}),
        (ValueError, "max_new_tokens must not be negative, but is -1", [1], {"max_new_tokens": -1}),
        (TypeError, "max_new_tokens must be a whole number", [1], {"max_new_tokens": 2.5}),
        (ValueError, "stop must hold token ids from 0 to 8", [1], {"stop": 50256}),
    ],
)
@pytest.mark.parametrize("function", [generate, stream])
def test_bad_input_is_refused_at_once(function, error, message, prompt, options):
    with pytest.raises(error, match=message):
        function(Successor(), prompt, **{"max_new_tokens": 3, **options})


def test_a_model_that_diverged_is_named_as_the_cause(rnn):
    rnn.tokens.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="training diverged"):
        generate(rnn, [1], 1)


SHAPE = {"vocab_size": 50, "context": 24, "width": 16, "layers": 2, "heads": 4, "init_std": 0.4}
CACHED = {
    "GPT": lambda: GPT(GPTConfig(**SHAPE)),
    "Llama": lambda: Llama(LlamaConfig(**SHAPE, kv_heads=2)),
}


@pytest.fixture(params=CACHED)
def cached_model(request):
    torch.manual_seed(1)
    return CACHED[request.param]()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_a_llama_writes_what_hugging_faces_llama_writes(kv_heads, tmp_path):
    torch.manual_seed(0)
    Llama(LlamaConfig(**SHAPE, kv_heads=kv_heads)).save_pretrained(tmp_path)
    ids = torch.randint(50, (3, 5))
    expected = LlamaForCausalLM.from_pretrained(tmp_path).generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=19,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert torch.equal(generate(Llama.from_pretrained(tmp_path), ids, 19, sampler=GREEDY), expected)


@pytest.mark.parametrize("sampler", [GREEDY, Sampler(0.8, top_p=0.9, repetition_penalty=1.2)], ids=str)
def test_a_cache_changes_speed_and_nothing_else(cached_model, sampler):
    """Also beyond the context of 24 tokens, where nothing can be kept any more."""
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11]]
    options = {"sampler": sampler, "seed": 3, "stop": [13, 14]}
    for ids in ([1, 2, 3], torch.tensor([[1, 2], [3, 4]]), prompts):
        texts = [generate(cached_model, ids, 28, cache=cache, **options) for cache in (True, False)]
        with_cache, without = (text.tolist() if isinstance(text, torch.Tensor) else text for text in texts)
        assert with_cache == without


@pytest.mark.parametrize("cache", [True, False])
def test_prompts_of_different_lengths_are_continued_as_each_alone(cached_model, cache):
    prompts = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10, 11], list(range(24))]
    alone = [generate(cached_model, prompt, 12, sampler=GREEDY, stop=13, cache=False) for prompt in prompts]
    assert generate(cached_model, prompts, 12, sampler=GREEDY, stop=13, cache=cache) == alone
    assert generate(cached_model, prompts, 0) == prompts


def test_a_sliding_window_writes_on_without_end():
    torch.manual_seed(1)
    model = CACHED["Llama"]()
    window = Mask(lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) & (kv_idx > q_idx - 6))
    text = [1, 2, 3]
    for _ in range(40):
        with torch.no_grad():
            text.append(model(torch.tensor([text]), mask=window)[0, -1].argmax().item())
    cache = SlidingWindowCache.for_model(model, 1, 6)
    assert generate(model, [1, 2, 3], 40, sampler=GREEDY, cache=cache) == text


class Letters:
    """A tokenizer of pieces that cut words anywhere: é is cut in two."""

    PIECES = (b"a", b"b", b"ab", b"ba", b"c", b"\xc3", b"\xa9", b"<e", b"nd>")

    def decode_bytes(self, ids):
        return b"".join(self.PIECES[i] for i in ids)


@pytest.mark.parametrize(
    ("stop", "new"),
    [
        ("d>", [3, 4, 5, 6, 7, 8]),  # inside a token
        ("<end>", [3, 4, 5, 6, 7, 8]),  # two tokens
        ("é", [3, 4, 5, 6]),  # a character of two tokens
        ("acé<", [3, 4, 5, 6, 7]),  # from the middle of a token to the middle of another
        # Across two tokens, and not as the prompt and the first token have it.
        ("ab", [3, 4, 5, 6, 7, 8, 0, 1]),
        (["zz", 4], [3, 4]),
        ({"é", 5}, [3, 4, 5]),
    ],
    ids=str,
)
def test_a_stop_string_is_found_across_the_borders_of_tokens(stop, new):
    options = {"sampler": GREEDY, "stop": stop, "tokenizer": Letters()}
    assert generate(Successor(), [1, 2], 12, **options) == [1, 2, *new]
    assert list(stream(Successor(), [1, 2], 12, **options)) == new
    both = generate(Successor(), [[1, 2], [0, 1, 2]], 12, **options)
    assert both == [[1, 2, *new], [0, 1, 2, *new]]


def test_a_tokenizer_without_bytes_serves(small_corpus):
    class Words:
        def decode(self, ids):
            return " ".join(f"w{i}" for i in ids)

    assert generate(Successor(), [2], 9, sampler=GREEDY, stop="w3 w4", tokenizer=Words()) == [2, 3, 4]


def test_a_step_with_fixed_shapes_computes_the_same(cached_model, monkeypatch):
    """What is compiled, and on CUDA captured, has a tensor for the length. Here it runs as it is."""
    monkeypatch.setattr(decoders, "compiled_step", lambda: step)
    for ids in ([1, 2, 3], [[1, 2, 3], [4]]):
        text = generate(cached_model, ids, 25, sampler=GREEDY, cache=False)
        assert generate(cached_model, ids, 25, sampler=GREEDY, compile=True) == text


TRACE = """
import torch
import torch._dynamo.testing
from llmlib.generation import Sampler, decoders, generate
from llmlib.generation.steps import step
from llmlib.models import Llama, LlamaConfig

torch.manual_seed(0)
model = Llama(LlamaConfig(vocab_size=50, context=24, width=16, layers=2, heads=4, kv_heads=2, init_std=0.4))
frames = torch._dynamo.testing.CompileCounter()
traced = torch.compile(step, dynamic=False, backend=frames, fullgraph=True)
decoders.compiled_step = lambda: traced
for ids in ([1, 2, 3], [4, 5, 6]):
    options = {"sampler": Sampler(temperature=0)}
    assert generate(model, ids, 12, compile=True, **options) == generate(model, ids, 12, **options)
print(frames.frame_count)
"""


def test_the_step_is_traced_once_as_one_graph():
    """In a fresh Python: the checks of annotations, which the tests switch on, cannot be traced."""
    run = subprocess.run(
        [sys.executable, "-c", TRACE], capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "1", "nothing depends on the length, so nothing is compiled again"


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "pass tokenizer=", {"stop": "end"}),
        (ValueError, "empty string", {"stop": ["a", ""], "tokenizer": Letters()}),
        (TypeError, "must be token ids, or strings", {"stop": [1.5]}),
        (TypeError, "must be token ids, or strings", {"stop": [True]}),
        (TypeError, "cache must be True, False, or", {"cache": None}),
        (ValueError, "compile and graph are for the step with a cache", {"compile": True, "cache": False}),
        (ValueError, "graph is for CUDA devices", {"graph": True}),
        (
            ValueError,
            "empty cache for 1 sequences of 5 tokens, but this one is for 2 of 9",
            {"cache": (2, 9)},
        ),
        (
            ValueError,
            "empty cache for 1 sequences of 5 tokens, but this one is for 1 of 4",
            {"cache": (1, 4)},
        ),
        (TypeError, "lists of token ids", {"ids": [[1, 2], 3]}),
        (ValueError, "prompt is empty", {"ids": [[1, 2], []]}),
        (ValueError, r"reads at most 24", {"ids": [[1] * 25]}),
    ],
)
@pytest.mark.parametrize("function", [generate, stream])
def test_more_bad_input_is_refused_at_once(function, error, message, options, cached_model):
    options = {"ids": [1, 2], "max_new_tokens": 4, **options}
    if isinstance(options.get("cache"), tuple):
        options["cache"] = StaticCache.for_model(cached_model, *options["cache"])
    with pytest.raises(error, match=message):
        function(cached_model, **options)


def test_a_cache_is_used_once_and_by_models_that_take_one(cached_model, rnn):
    cache = StaticCache.for_model(cached_model, 1, 8)
    generate(cached_model, [1, 2], 4, cache=cache)
    with pytest.raises(ValueError, match="and not empty"):
        generate(cached_model, [1, 2], 4, cache=cache)
    with pytest.raises(ValueError, match="RNN takes no cache"):
        generate(rnn, [1], 1, cache=cache)
