"""Loss by position: one plain pass over each text, in whatever pieces; memory that does not grow as T · V or T²."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from llmlib.models import GPT, GPTConfig, LlamaConfig, LlamaVariant
from llmlib.training import loss_by_position, perplexity_by_length
from llmlib.training.scoring import log_probabilities

ROWS = torch.randint(31, (5, 20), generator=torch.Generator().manual_seed(0))
SHAPE = {"vocab_size": 31, "context": 8, "width": 16, "layers": 2, "heads": 2}


def model(positions):
    torch.manual_seed(0)
    return LlamaVariant(LlamaConfig(**SHAPE), positions=positions)


@pytest.mark.parametrize("positions", ["rope", "alibi", "none", "sinusoidal"])
@pytest.mark.parametrize("tokens_at_once", [1, 7, 40, 4096])
def test_is_the_cross_entropy_of_one_pass(positions, tokens_at_once):
    net = model(positions).train()
    with torch.no_grad():
        expected = F.cross_entropy(net(ROWS[:, :-1]).mT, ROWS[:, 1:], reduction="none")
    found = loss_by_position(net, ROWS.numpy().astype(np.uint16), tokens_at_once=tokens_at_once)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected)
    assert net.training


def test_within_the_context_it_is_what_the_other_measure_says():
    net = GPT(GPTConfig(**SHAPE | {"context": 32}))
    expected = torch.stack(log_probabilities(net, ROWS.tolist()))
    torch.testing.assert_close(loss_by_position(net, ROWS), -expected)


def test_any_function_of_ids_will_do():
    found = loss_by_position(lambda ids: torch.zeros(*ids.shape, 31), ROWS)
    torch.testing.assert_close(found, torch.full((5, 19), math.log(31)).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("positions", ["rope", "alibi"])
def test_no_tensor_grows_as_the_length_squared_or_as_length_times_vocabulary(positions):
    """At 8,192 positions such a tensor would have 2 · 8,192² or 8,192 · 5,000 numbers."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, torch.Tensor):
                    # A view into something small is not something large.
                    self.numbers = max(self.numbers, tensor.untyped_storage().nbytes() // tensor.itemsize)
            return out

    config = LlamaConfig(vocab_size=5000, context=8, width=8, layers=1, heads=2, hidden=8)
    net = LlamaVariant(config, positions=positions)
    with Largest() as largest:
        loss_by_position(net, torch.zeros(1, 8193, dtype=torch.long), tokens_at_once=512)
    assert 8192 * 8 <= largest.numbers <= 2**22


def test_perplexity_of_a_length_is_that_of_its_first_tokens():
    losses = torch.tensor([[0.0, math.log(4), 5.0], [0.0, math.log(16), 5.0]], dtype=torch.float64)
    found = perplexity_by_length(losses, [1, 2])
    assert found == {1: pytest.approx(1), 2: pytest.approx(8**0.5)}


@pytest.mark.parametrize("length", [0, 4])
def test_refuses_a_length_that_the_rows_have_not(length):
    with pytest.raises(ValueError, match=r"must be in 1 … 3"):
        perplexity_by_length(torch.zeros(2, 3), [1, length])


def test_learned_positions_end():
    with pytest.raises(ValueError, match="19 positions, but this model has learned vectors for 8"):
        loss_by_position(model("learned"), ROWS)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("rows", [ROWS[0], ROWS[:, :1], ROWS[:0]])
def test_refuses_rows_without_a_prediction(rows):
    with pytest.raises(ValueError, match=r"rows must be token ids \(N, T \+ 1\)"):
        loss_by_position(model("rope"), rows)


def test_refuses_pieces_of_nothing():
    with pytest.raises(ValueError, match="tokens_at_once must be 1 or more, but is 0"):
        loss_by_position(model("rope"), ROWS, tokens_at_once=0)
