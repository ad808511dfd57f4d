"""A cache changes no logit: against the same model on the whole text, and on the whole text with a window's mask."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from llmlib.attention import Mask
from llmlib.generation import SlidingWindowCache, StaticCache, cache_bytes
from llmlib.layers import DynamicScaling, capture
from llmlib.models import GPT, RNN, GPTConfig, Llama, LlamaConfig, RNNConfig

SIZE = {"vocab_size": 31, "context": 32, "width": 16, "layers": 2, "heads": 4, "init_std": 0.3}
MODELS = {
    "GPT": lambda: GPT(GPTConfig(**SIZE)),
    "GPT, sinusoidal, Post-LN": lambda: GPT(GPTConfig(**SIZE, positions="sinusoidal", norm="post")),
    "GPT, no positions, NormFormer": lambda: GPT(GPTConfig(**SIZE, positions="none", norm="normformer")),
    "Llama, G = H": lambda: Llama(LlamaConfig(**SIZE)),
    "Llama, G = H/2": lambda: Llama(LlamaConfig(**SIZE, kv_heads=2, attention_bias=True)),
    "Llama, G = 1": lambda: Llama(LlamaConfig(**SIZE, kv_heads=1, head_width=6)),
}
CUTS = [(20,), (1,) * 20, (7, 1, 1, 5, 6), (19, 1)]


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().double()


@pytest.fixture
def ids():
    return torch.randint(SIZE["vocab_size"], (3, 20), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def in_pieces(model, ids, cut, cache):
    return torch.cat([model(piece, cache=cache) for piece in ids.split(list(cut), dim=1)], dim=1)


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_logits_with_a_cache_are_those_of_every_prefix(model, ids, cut):
    cache = StaticCache.for_model(model, 3, 24)
    found = in_pieces(model, ids, cut, cache)
    with torch.no_grad():
        for end in range(1, 21):
            assert_close(found[:, end - 1], model(ids[:, :end])[:, -1])
    assert cache.length == 20


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("window", [1, 6, 30])
# GPT's positions end.
@pytest.mark.parametrize("model", [name for name in MODELS if name != "GPT"], indirect=True)
def test_a_sliding_window_is_the_mask_of_a_window(model, ids, cut, window):
    mask = Mask(lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) & (kv_idx > q_idx - window))
    with torch.no_grad():
        expected = model(ids, mask=mask)
    assert_close(in_pieces(model, ids, cut, SlidingWindowCache.for_model(model, 3, window)), expected)


@pytest.mark.parametrize("kind", [StaticCache, SlidingWindowCache])
@torch.no_grad()
def test_sequences_of_different_lengths_do_not_know_of_each_other(kind, ids):
    """Each is read alone, then they go on together, by one token or by several at once."""
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZE, kv_heads=2)).double()
    capacity = 24 if kind is StaticCache else 5
    lengths = [3, 11, 6]
    cache = kind.for_model(model, 3, capacity)
    for b, length in enumerate(lengths):
        model(ids[b : b + 1, :length], cache=cache.row(b))
    cache.length = torch.tensor(lengths)
    more = torch.stack([row[n : n + 6] for row, n in zip(ids, lengths, strict=True)])
    found = in_pieces(model, more, (1, 1, 3, 1), cache)
    for b, length in enumerate(lengths):
        alone = kind.for_model(model, 1, capacity)
        expected = in_pieces(model, ids[b : b + 1, : length + 6], (1,) * (length + 6), alone)
        assert_close(found[b : b + 1], expected[:, length:])
    assert cache.length.tolist() == [9, 17, 12]


@torch.no_grad()
def test_selected_sequences_go_on(ids):
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZE)).double()
    cache = StaticCache.for_model(model, 3, 20)
    model(ids[:, :10], cache=cache)
    cache.select(torch.tensor([2, 2, 0]))
    assert_close(
        model(ids[:, 10:11], cache=cache)[:, -1],
        model(torch.cat([ids[[2, 2, 0], :10], ids[:, 10:11]], 1))[:, -1],
    )


def test_the_memory_is_that_of_the_formula_and_reserved_once(model, ids):
    config = model.config
    cache = StaticCache.for_model(model, 3, 24)
    by_hand = 2 * config.layers * 3 * 24 * config.kv_heads * config.head_width * 8
    assert cache.nbytes == cache_bytes(config, batch=3, length=24, dtype=torch.float64) == by_hand
    addresses = [layer.keys.data_ptr() for layer in cache.layers]
    in_pieces(model, ids, (10, 1, 9), cache)
    assert [layer.keys.data_ptr() for layer in cache.layers] == addresses


def test_published_models_by_hand():
    """Llama 2 70B: 2 · 80 layers · 8 heads · 128 numbers · 2 bytes = 320 KiB a token, an eighth of 64 heads'."""
    llama = LlamaConfig.preset("llama-2-70b")
    assert cache_bytes(llama, length=1) == 320 * 1024
    assert cache_bytes(LlamaConfig.preset("llama-2-70b", kv_heads=64), length=1) == 8 * 320 * 1024
    assert cache_bytes(LlamaConfig.preset("llama-3-8b"), length=8192) == 2**30
    assert cache_bytes(GPTConfig.preset("gpt2"), length=1024, batch=2, dtype=4) == 2 * 12 * 2 * 1024 * 768 * 4


def test_what_does_not_fit_is_refused(ids):
    model = Llama(LlamaConfig(**SIZE))
    cache = StaticCache.for_model(model, 3, 8)
    model(ids[:, :6], cache=cache)
    with pytest.raises(ValueError, match="room for 8 tokens and holds 6, so 3 more do not fit"):
        model(ids[:, :3], cache=cache)
    with pytest.raises(ValueError, match="holds 3 sequences, but ids have 2"):
        model(ids[:2, :1], cache=cache)
    with pytest.raises(ValueError, match="takes no mask"):
        model(ids[:, :1], cache=cache, mask=Mask(lambda b, h, q_idx, kv_idx: kv_idx >= 0))
    with capture(model), pytest.raises(ValueError, match="without a cache"):
        model(ids[:, :1], cache=cache)
    with pytest.raises(ValueError, match="batch = 0"):
        StaticCache.for_model(model, 0, 8)
    with pytest.raises(ValueError, match="length = -1"):
        cache_bytes(model.config, length=-1)


def test_with_gradients_switched_on_it_works_too(ids):
    torch.manual_seed(0)
    model = Llama(LlamaConfig(**SIZE)).double()
    for made in (torch.enable_grad, torch.no_grad):
        with made():
            cache = StaticCache.for_model(model, 3, 8)
        logits = torch.cat([model(ids[:, :5], cache=cache), model(ids[:, 5:6], cache=cache)], dim=1)
        assert_close(logits, model(ids[:, :6]))


def test_positions_that_end_are_not_exceeded():
    learned = GPT(GPTConfig(**SIZE))
    dynamic = Llama(LlamaConfig(**SIZE, rope_scaling=DynamicScaling(2.0, SIZE["context"])))
    for model, kind in itertools.product((learned, dynamic), (StaticCache, SlidingWindowCache)):
        with pytest.raises(ValueError, match="end with its context"):
            kind.for_model(model, 1, 33)
    StaticCache.for_model(learned, 1, 32)


@pytest.mark.parametrize(
    "model", [RNN(RNNConfig(vocab_size=5, width=4)), GPT(GPTConfig(**SIZE, mask="full"))]
)
def test_models_without_keys_or_without_an_order_take_no_cache(model):
    with pytest.raises(TypeError, match="takes no cache"):
        StaticCache.for_model(model, 1, 8)
