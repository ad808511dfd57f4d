"""RNN against ``torch.nn.LSTM`` and ``torch.nn.GRU`` of several layers, forward and backward."""

import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.testing import assert_close

from llmlib.models.rnn import RNN, RNNConfig

PEERS = {"lstm": nn.LSTM, "gru": nn.GRU}
both_cells = pytest.mark.parametrize("cell", PEERS)
both_backends = pytest.mark.parametrize("backend", ["torch", "reference"])


@pytest.fixture
def ids():
    return torch.randint(11, (3, 7), generator=torch.Generator().manual_seed(0))


def peer_of(model):
    """One ``torch.nn`` module that holds all layers of ``model``, with their weights."""
    config = model.config
    peer = PEERS[config.cell](config.width, config.width, config.layers, batch_first=True).double()
    for number, layer in enumerate(model.layers):
        for name, weight in layer.named_parameters():
            getattr(peer, name.replace("l0", f"l{number}")).data.copy_(weight.data)
    return peer


def random_model(cell, layers=2):
    torch.manual_seed(1)
    return RNN(RNNConfig(vocab_size=11, width=8, layers=layers, cell=cell)).double()


@both_cells
@both_backends
def test_logits_and_gradients_are_those_of_torch(cell, backend, ids):
    model = random_model(cell)
    peer = peer_of(model)
    embedding = model.tokens.weight.detach().clone().requires_grad_()
    expected = peer(embedding[ids] * 8**0.5)[0] @ embedding.T

    logits = model(ids, backend=backend)
    assert_close(logits, expected)

    targets = ids.roll(-1)
    F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    F.cross_entropy(expected.flatten(0, 1), targets.flatten()).backward()
    assert_close(model.tokens.weight.grad, embedding.grad)
    for number, layer in enumerate(model.layers):
        for name, weight in layer.named_parameters():
            assert_close(weight.grad, getattr(peer, name.replace("l0", f"l{number}")).grad)


@both_cells
@both_backends
def test_a_text_read_in_pieces_gives_the_logits_of_the_whole(cell, backend, ids):
    model = random_model(cell)
    states, pieces = None, []
    for piece in ids.split([3, 1, 3], dim=1):
        logits, states = model.read_on(piece, states, backend=backend)
        pieces.append(logits)
    assert_close(torch.cat(pieces, dim=1), model(ids))


@both_cells
def test_the_states_are_those_of_torch(cell, ids):
    model = random_model(cell)
    peer = peer_of(model)
    _, states = model.read_on(ids)
    after = peer(model.tokens(ids) * 8**0.5)[1]
    for part, expected in enumerate(after if cell == "lstm" else (after,)):
        assert_close(torch.stack([state[part] for state in states]), expected)


@both_cells
def test_a_prediction_depends_on_no_later_token(cell, ids):
    model = random_model(cell)
    changed = ids.clone()
    changed[:, 4:] = (ids[:, 4:] + 1) % 11
    assert_close(model(changed)[:, :4], model(ids)[:, :4], rtol=0, atol=0)
    assert not torch.equal(model(changed)[:, 4:], model(ids)[:, 4:])


def test_the_forget_gate_starts_open():
    """At the start the cell keeps σ(1) = 0.73 of itself where nothing is written, not one half."""
    model = RNN(RNNConfig(vocab_size=5, width=4))
    (layer,) = model.layers
    for weight in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_hh_l0):
        nn.init.zeros_(weight)
    write, keep, new, show = layer.bias_ih_l0.data.chunk(4)
    assert_close(keep, torch.ones(4))
    for other in (write, new, show):
        nn.init.zeros_(other)
    once = torch.ones(1, 4)
    _, [(_, cell)] = model.read_on(torch.tensor([[0]]), [(once, once)])
    assert_close(cell, torch.full((1, 4), 0.7310586))


@both_cells
def test_parameters_are_counted_by_hand(cell):
    """Tied token vectors, and for each layer K gates with a C × C matrix and a bias for x and for h."""
    gates = {"lstm": 4, "gru": 3}[cell]
    model = RNN(RNNConfig(vocab_size=11, width=8, layers=2, cell=cell))
    assert model.num_parameters() == 11 * 8 + 2 * gates * 2 * (8 * 8 + 8)


@both_cells
def test_a_saved_model_comes_back(cell, ids, tmp_path):
    model = random_model(cell)
    model.save_pretrained(tmp_path / "rnn")
    again = RNN.from_pretrained(tmp_path / "rnn")
    assert again.config == model.config
    assert_close(again(ids), model(ids), rtol=0, atol=0)
    assert RNN.from_pretrained(tmp_path / "rnn", dtype=torch.float32)(ids).dtype == torch.float32


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    random_model("lstm").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(ValueError, match=r"config\.json.*'llama'"):
        RNN.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "width": 16}))
    with pytest.raises(ValueError, match="shape"):
        RNN.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("error", "message", "ids"),
    [
        (TypeError, "whole numbers", torch.zeros(1, 3)),
        (ValueError, r"shape \(B, T\)", torch.tensor([1, 2])),
        (ValueError, r"shape \(B, T\)", torch.zeros(1, 0, dtype=torch.long)),
        (ValueError, "0 … 10 .* there is 11", torch.tensor([[1, 11]])),
        (ValueError, "there is -1", torch.tensor([[-1, 3]])),
    ],
)
def test_bad_ids_are_refused(error, message, ids):
    with pytest.raises(error, match=message):
        random_model("lstm")(ids)


def test_an_unknown_backend_is_refused(ids):
    with pytest.raises(ValueError, match="'torch', 'reference', but is 'triton'"):
        random_model("lstm")(ids, backend="triton")


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("width must be a whole number of at least 1, but is 0", {"width": 0}),
        ("layers must be", {"layers": 1.5}),
        ("cell must be one of 'lstm', 'gru', but is 'rnn'", {"cell": "rnn"}),
    ],
)
def test_bad_configurations_are_refused(message, change):
    with pytest.raises(ValueError, match=message):
        RNNConfig(**{"vocab_size": 11, **change})
