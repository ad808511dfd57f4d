"""A model small enough to train in a moment, and rows with something to learn."""

import numpy as np
import pytest
import torch
from torch import nn


class TinyModel(nn.Module):
    """Two residual blocks over the tokens so far; dropout, so that random numbers matter."""

    def __init__(self, vocab_size=32, width=16, dropout=0.0, tied=True):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
            for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocab_size, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.1)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = x + self.dropout(block(x))
        return self.head(x)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Sums this small gain nothing from threads, and on a busy machine those would wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_model():
    def make(seed=0, **settings):
        torch.manual_seed(seed)
        return TinyModel(**settings)

    return make


@pytest.fixture(scope="session")
def rows():
    """48 rows of 9 tokens in which each token nearly decides the next."""
    generator = np.random.default_rng(0)
    start = generator.integers(0, 32, (48, 1))
    noise = generator.integers(0, 2, (48, 9))
    return (start * 5 + np.cumsum(3 + noise, axis=1)) % 32


@pytest.fixture
def weights():
    """The weights of a model, copied, to compare with."""
    return lambda model: {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="session")
def p_value():
    """Pearson's chi-square test: how likely counts at least as far from what is expected are."""

    def p_value(observed, expected=None):
        observed = torch.as_tensor(observed, dtype=torch.float64)
        expected = observed.mean().expand_as(observed) if expected is None else torch.as_tensor(expected)
        distance = ((observed - expected).square() / expected).sum()
        freedom = torch.tensor((len(observed) - 1) / 2, dtype=torch.float64)
        return float(torch.special.gammaincc(freedom, distance / 2))

    return p_value
