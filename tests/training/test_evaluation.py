"""Every token predicted once, from what stands before it: by hand, and against one plain pass over a text."""

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.testing import assert_close

from llmlib.models import GPT, RNN, GPTConfig, KneserNey, RNNConfig
from llmlib.training.evaluation import Evaluation, evaluate
from llmlib.training.scoring import log_probabilities

V, END = 257, 256
TEXTS = ["Every token,", "one by one – and once! " * 5, "", "€"]


class Bytes:
    """A tokenizer whose tokens are the bytes of UTF-8."""

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(ids).decode()


def uniform(ids):
    return torch.zeros(*ids.shape, V)


SEQUENCES = [[END, *text.encode(), END] for text in TEXTS]


def neural_models():
    torch.manual_seed(0)
    yield "gpt", GPT(GPTConfig(vocab_size=V, context=200, width=16, layers=1, heads=2)).eval()
    yield "lstm", RNN(RNNConfig(vocab_size=V, width=16, layers=2))
    yield "gru", RNN(RNNConfig(vocab_size=V, width=16, cell="gru"))


def in_one_pass(model, ids):
    ids = torch.tensor(ids)
    with torch.no_grad():
        return -F.cross_entropy(model(ids[None, :-1])[0], ids[1:], reduction="none")


def test_the_loss_of_a_uniform_model_is_ln_v():
    result = evaluate(uniform, Bytes(), TEXTS, END)
    assert result.cross_entropy == pytest.approx(math.log(V))
    assert result.perplexity == pytest.approx(V)


def test_bits_per_byte_by_hand():
    """ "€" has three bytes, so with its end there are four tokens to predict, each with log2(257) bits."""
    result = evaluate(uniform, Bytes(), ["€"], END)
    assert (result.tokens, result.bytes) == (4, 3)
    assert result.bits_per_byte == pytest.approx(4 * math.log2(257) / 3)


def test_three_measures_of_one_number():
    """8 tokens with a probability of 1/4 each are 16 bits: over 10 bytes 1.6 each."""
    result = Evaluation(nats=8 * math.log(4), tokens=8, bytes=10)
    assert result.cross_entropy == pytest.approx(math.log(4))
    assert result.perplexity == pytest.approx(4)
    assert result.bits_per_byte == pytest.approx(1.6)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize(("name", "model"), list(neural_models()))
def test_scores_are_those_of_one_pass_over_each_text(name, model, batch_size):
    """Also of texts longer than the pieces in which a recurrent model reads, and beside longer ones."""
    sequences = [*SEQUENCES, [END, *range(140), END], [END]]
    scores = log_probabilities(model, sequences, batch_size=batch_size)
    for score, ids in zip(scores[:-1], sequences, strict=False):
        assert_close(score.float(), in_one_pass(model, ids))
    assert scores[-1].numel() == 0


def test_an_ngram_model_is_asked_the_same():
    stream = torch.tensor([token for ids in SEQUENCES for token in ids[1:]])
    model = KneserNey.fit(stream, V, order=3)
    result = evaluate(model, Bytes(), TEXTS, END)
    expected = 0.0
    for ids in SEQUENCES:
        for t in range(1, len(ids)):
            expected -= math.log(model.distribution(ids[:t])[ids[t]])
    assert result.nats == pytest.approx(expected)
    assert result.tokens == sum(len(text.encode()) + 1 for text in TEXTS)
    assert result.bytes == sum(len(text.encode()) for text in TEXTS)
    asked_as_others_are = sum(in_one_pass(model, ids).sum() for ids in SEQUENCES)
    assert result.nats == pytest.approx(-float(asked_as_others_are), rel=1e-5)


class Counting(nn.Module):
    """Knows of each token how many tokens it was predicted from: ln P = −(their number)."""

    def __init__(self, context):
        super().__init__()
        self.context, self.shown = context, []

    def forward(self, ids):
        self.shown += ids.tolist()
        assert ids.shape[1] <= self.context
        seen = torch.arange(1.0, ids.shape[1] + 1)
        probability = torch.exp(-seen)
        others = torch.log((1 - probability) / (V - 1))
        logits = others[:, None].expand(-1, V).clone().repeat(len(ids), 1, 1)
        following = torch.cat([ids[:, 1:], ids[:, -1:] + 1], dim=1) % V
        return logits.scatter(-1, following[..., None], -seen.expand(len(ids), -1)[..., None])


@pytest.mark.parametrize(
    ("stride", "seen"),
    [
        (None, [1, 2, 3, 4, 3, 4, 3, 4, 3, 4, 4]),
        (1, [1, 2, 3, 4, 4, 4, 4, 4, 4, 4, 4]),
        (3, [1, 2, 3, 4, 2, 3, 4, 2, 3, 4, 4]),
        (4, [1, 2, 3, 4, 1, 2, 3, 4, 2, 3, 4]),
    ],
)
def test_a_window_moves_along_a_long_text(stride, seen):
    """The last window ends where the text ends, and is as full as the others."""
    (score,) = log_probabilities(Counting(context=4), [list(range(12))], stride=stride)
    assert_close(-score.float(), torch.tensor(seen, dtype=torch.float32))


def test_a_window_of_one_token():
    (score,) = log_probabilities(Counting(context=1), [list(range(4))])
    assert_close(-score.float(), torch.ones(3))


def test_windows_are_read_in_batches():
    model = Counting(context=4)
    log_probabilities(model, [list(range(12)), list(range(3))], batch_size=2)
    assert sorted(model.shown) == [
        [0, 1, 2, 0],
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [4, 5, 6, 7],
        [6, 7, 8, 9],
        [7, 8, 9, 10],
    ]


def test_dropout_is_off_and_comes_back():
    model = nn.Sequential(nn.Embedding(V, V), nn.Dropout(0.9))
    scores = log_probabilities(model, SEQUENCES)
    for score, again in zip(scores, log_probabilities(model, SEQUENCES), strict=True):
        assert_close(score, again, rtol=0, atol=0)
    assert model[1].training


def test_half_precision_is_summed_in_double_precision():
    model = GPT(GPTConfig(vocab_size=V, context=200, width=16, layers=1, heads=2)).bfloat16()
    (score,) = log_probabilities(model, [[END, 1, 2]])
    assert score.dtype == torch.float64
    ids = torch.tensor([[END, 1]])
    assert_close(score[1], model(ids)[0, 1].double().log_softmax(0)[2], rtol=1e-5, atol=1e-5)


class Forgetful(Bytes):
    def encode(self, text):
        return super().encode(text.lower())


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (TypeError, r"pass \[text\]", {"texts": "text"}),
        (ValueError, "no text", {"texts": []}),
        (ValueError, "no text", {"texts": ["", ""]}),
        (
            ValueError,
            "Document 1 does not survive",
            {"texts": ["a", "A"], "tokenizer": Forgetful()},
        ),
        (ValueError, "NaN", {"model": lambda ids: uniform(ids) * math.nan}),
        (ValueError, "batch_size", {"batch_size": 0}),
        (ValueError, "between 1 and the model's context of 4, but is 5", {"model": Counting(4), "stride": 5}),
        (ValueError, "between 1 and the model's context of 4, but is 0", {"model": Counting(4), "stride": 0}),
    ],
)
def test_bad_input_is_refused(error, message, arguments):
    with pytest.raises(error, match=message):
        evaluate(**{"model": uniform, "tokenizer": Bytes(), "texts": ["abc"], "end": END, **arguments})
