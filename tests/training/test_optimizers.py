import numpy as np
import pytest
import torch
from torch import nn

from llmlib.training import TrainConfig, matrices
from llmlib.training.muon import COEFFICIENTS, ITERATIONS, Muon, orthogonalised
from llmlib.training.optimizers import build_optimizers, set_learning_rate

SHAPES = [(16, 16), (24, 8), (8, 24)]


def names_of(model, optimizer):
    by_weight = {weight: name for name, weight in model.named_parameters()}
    return {by_weight[weight] for group in optimizer.param_groups for weight in group["params"]}


@pytest.mark.parametrize("tied", [True, False])
def test_muon_gets_the_matrices_of_the_blocks_and_adamw_the_rest(make_model, tied):
    model = make_model(tied=tied)
    muon, adamw = build_optimizers(model, TrainConfig(steps=1))
    inner = {f"blocks.{block}.{layer}.weight" for block in (0, 1) for layer in (1, 3)}
    assert names_of(model, muon) == inner == set(matrices(model))
    assert names_of(model, adamw) == {name for name, _ in model.named_parameters()} - inner
    assert ("head.weight" in names_of(model, adamw)) is not tied


def test_muon_leaves_embeddings_in_blocks_and_frozen_weights_alone(make_model):
    model = make_model()
    model.blocks.append(nn.Embedding(3, 4))
    model.blocks[0].requires_grad_(False)
    muon, adamw = build_optimizers(model, TrainConfig(steps=1))
    assert names_of(model, muon) == {"blocks.1.1.weight", "blocks.1.3.weight"}
    assert "blocks.2.weight" in names_of(model, adamw)
    assert not any(name.startswith("blocks.0") for name in names_of(model, adamw))


def test_adamw_alone_gets_all_and_decays_matrices_only(make_model):
    model = make_model()
    (adamw,) = build_optimizers(model, TrainConfig(steps=1, optimizer="adamw", weight_decay=0.3))
    assert names_of(model, adamw) == {name for name, _ in model.named_parameters()}
    decayed, free = adamw.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0.0)
    assert {weight.ndim for weight in decayed["params"]} == {2}
    assert {weight.ndim for weight in free["params"]} == {1}


def test_each_rate_is_scaled_from_its_own_peak(make_model):
    optimizers = build_optimizers(
        make_model(), TrainConfig(steps=1, learning_rate=0.4, adamw_learning_rate=0.1)
    )
    set_learning_rate(optimizers, 0.5)
    set_learning_rate(optimizers, 0.25)
    assert [group["lr"] for optimizer in optimizers for group in optimizer.param_groups] == [
        0.1,
        0.025,
        0.025,
    ]


def test_a_model_without_blocks_is_sent_to_adamw():
    model = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    with pytest.raises(ValueError, match=r'Sequential has none to train. Use optimizer="adamw"'):
        build_optimizers(model, TrainConfig(steps=1))
    assert len(build_optimizers(model, TrainConfig(steps=1, optimizer="adamw"))) == 1
    with pytest.raises(ValueError, match="nothing to train"):
        build_optimizers(model.requires_grad_(False), TrainConfig(steps=1))


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonalised_applies_the_polynomial_to_the_singular_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, values, right = np.linalg.svd(matrix.numpy(), full_matrices=False)
    values = values / np.linalg.norm(values)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        values = a * values + b * values**3 + c * values**5
    np.testing.assert_allclose(orthogonalised(matrix), left * values @ right, atol=1e-12)


def test_muon_is_that_of_pytorch_up_to_the_rounding_of_bfloat16():
    generator = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    theirs = [nn.Parameter(weight.detach().clone()) for weight in ours]
    optimizers = (Muon(ours, lr=0.02), torch.optim.Muon(theirs, lr=0.02))
    start = [weight.detach().clone() for weight in ours]
    for _ in range(6):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = other.grad = torch.randn(one.shape, generator=generator)
        for optimizer in optimizers:
            optimizer.step()
    for one, other, before in zip(ours, theirs, start, strict=True):
        moved = (other - before).norm()
        assert (one - other).norm() < 0.02 * moved  # bfloat16 keeps 8 bits: 0.004 a product, in 15 of them


def test_muon_of_a_zero_gradient_only_decays():
    weight = nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    Muon([weight], lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(weight.data, torch.full((2, 2), 0.95))
