import itertools
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from llmlib.training import (
    Blocks,
    TrainConfig,
    TrainingDivergedError,
    checkpoint,
    loop,
    next_token_loss,
    train,
)
from llmlib.training.data import Batches

OPTIMIZERS = ["muon", "adamw"]


def run(model, rows, folder=None, resume=False, objective=next_token_loss, **settings):
    config = TrainConfig(**{"steps": 12, "batch_size": 8, **settings})
    return train(model, rows, config, folder=folder, resume=resume, objective=objective, progress=False)


def losses(history):
    return [record.loss for record in history.steps]


def assert_same_weights(one, other):
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_learns(make_model, rows, optimizer):
    """Two tokens may follow each, equally likely: ln 2 = 0.69 nats are the floor, ln 32 = 3.47 the start."""
    model = make_model()
    history = run(model, Blocks(rows, rows[:8]), optimizer=optimizer, steps=200)
    assert history.steps[0].loss == pytest.approx(math.log(32), abs=0.1)
    assert 0.6 < history.evaluations[-1].loss < 0.9


@pytest.mark.parametrize("clip", [None, 0.5])
def test_is_the_plain_loop_of_pytorch(make_model, rows, clip):
    """AdamW, linear decay and clipping, written out with PyTorch's own parts."""
    model, reference = make_model(), make_model()
    settings = {"optimizer": "adamw", "adamw_learning_rate": 0.01, "weight_decay": 0.2, "clip": clip}
    history = run(model, rows, schedule="linear", warmup=0.25, **settings)

    matrices = [weight for weight in reference.parameters() if weight.ndim == 2]
    others = [weight for weight in reference.parameters() if weight.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.2}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95), foreach=False)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 3, (12 - step) / 9))
    for step in range(12):
        batch = torch.as_tensor(rows)[Batches(rows, 8, seed=0).numbers(step)]
        loss = F.cross_entropy(reference(batch[:, :-1]).transpose(1, 2), batch[:, 1:])
        loss.backward()
        norm = torch.stack([weight.grad.norm() for weight in reference.parameters()]).norm()
        if clip and norm > clip:
            for weight in reference.parameters():
                weight.grad *= clip / norm
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        assert history.steps[step].loss == pytest.approx(loss.item(), rel=1e-5)
        assert history.steps[step].gradient_norm == pytest.approx(float(norm), rel=1e-4)
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stop", [1, 5, 11])
def test_resume_continues_the_curve_bit_for_bit(make_model, rows, tmp_path, optimizer, stop):
    blocks = Blocks(rows, rows[:5])
    settings = {"optimizer": optimizer, "evaluate_every": 4, "checkpoint_every": 1}
    whole = make_model(dropout=0.2)
    uninterrupted = run(whole, blocks, **settings)

    def interrupting(model, part):
        if (
            len(checkpoint.find(tmp_path))
            and checkpoint.find(tmp_path)[-1].name == f"step-{stop:08}"
            and model.training
        ):
            raise KeyboardInterrupt
        return next_token_loss(model, part)

    with pytest.raises(KeyboardInterrupt):
        run(make_model(dropout=0.2), blocks, folder=tmp_path, objective=interrupting, **settings)
    torch.rand(7)  # other random numbers in between
    resumed_model = make_model(seed=9, dropout=0.2)
    resumed = run(resumed_model, blocks, folder=tmp_path, resume=True, **settings)
    assert losses(resumed) == losses(uninterrupted)
    assert [r.gradient_norm for r in resumed.steps] == [r.gradient_norm for r in uninterrupted.steps]
    assert [(r.step, r.loss) for r in resumed.evaluations] == [
        (r.step, r.loss) for r in uninterrupted.evaluations
    ]
    assert_same_weights(resumed_model, whole)


def test_a_finished_run_is_given_back_as_it_was(make_model, rows, tmp_path):
    first, again = make_model(), make_model(seed=1)
    history = run(first, rows, folder=tmp_path)
    assert run(again, rows, folder=tmp_path, resume=True) == history
    assert_same_weights(first, again)


def test_a_run_can_be_made_longer(make_model, rows, tmp_path):
    settings = {"schedule": "constant", "warmup": 0.0}
    whole, model = make_model(), make_model()
    run(model, rows, folder=tmp_path, steps=5, **settings)
    longer = run(model, rows, folder=tmp_path, resume=True, steps=9, **settings)
    assert losses(longer) == losses(run(whole, rows, steps=9, **settings))
    assert_same_weights(model, whole)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_accumulation_is_the_large_batch(make_model, rows, optimizer):
    at_once, in_pieces = make_model(), make_model()
    one = run(at_once, rows, optimizer=optimizer, batch_size=16)
    other = run(in_pieces, rows, optimizer=optimizer, batch_size=16, accumulation=4)
    assert losses(one) == pytest.approx(losses(other), rel=1e-5)
    for a, b in zip(at_once.parameters(), in_pieces.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_one_seed_one_curve(make_model, rows):
    first = losses(run(make_model(dropout=0.2), rows))
    torch.rand(3)
    assert losses(run(make_model(dropout=0.2), rows)) == first
    assert losses(run(make_model(dropout=0.2), rows, seed=1)) != first


def test_leaves_the_random_numbers_and_the_mode_of_the_caller(make_model, rows):
    model = make_model().eval()
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    run(model, Blocks(rows, rows[:4]), steps=2)
    assert torch.equal(torch.rand(4), expected)
    assert not model.training


def test_evaluates_the_mean_over_all_rows_without_dropout(make_model, rows):
    held_out = rows[:13]
    model = make_model(dropout=0.5)
    history = run(model, Blocks(rows, held_out), steps=7, evaluate_every=3)
    assert [record.step for record in history.evaluations] == [3, 6, 7]
    with torch.no_grad():
        logits = model.eval()(torch.as_tensor(held_out[:, :-1]))
        expected = F.cross_entropy(logits.transpose(1, 2), torch.as_tensor(held_out[:, 1:]))
    assert history.evaluations[-1].loss == pytest.approx(float(expected), rel=1e-6)


def test_a_budget_in_seconds_ends_and_its_rate_falls_with_the_clock(make_model, rows, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(loop.time, "perf_counter", lambda: 0.25 * next(ticks))  # read twice a step
    history = run(make_model(), Blocks(rows, rows[:4]), steps=None, seconds=2, warmup=0.0, evaluate_every=3)
    assert [record.seconds for record in history.steps] == [0.25 * step for step in range(1, 9)]
    assert [record.learning_rate for record in history.steps] == [1 - step / 8 for step in range(8)]
    assert history.seconds == 2


def test_the_clock_goes_on_where_a_resumed_run_was(make_model, rows, tmp_path):
    first = run(make_model(), rows, folder=tmp_path, steps=5, seconds=100)
    resumed = run(make_model(), rows, folder=tmp_path, resume=True, steps=10, seconds=100)
    assert resumed.steps[:5] == first.steps
    assert resumed.steps[5].seconds > first.seconds


@pytest.mark.parametrize("culprit", ["loss", "gradient"])
def test_stops_at_nan_and_keeps_the_last_good_checkpoint(make_model, rows, tmp_path, weights, culprit):
    class InfiniteGradient(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf

    calls = []

    def diverging(model, part):
        loss = next_token_loss(model, part)
        calls.append(weights(model))
        if len(calls) < 6:
            return loss
        return loss * math.nan if culprit == "loss" else InfiniteGradient.apply(loss)

    model = make_model()
    what = "the loss is nan" if culprit == "loss" else "norm of its gradient (inf|nan)"
    with pytest.raises(
        TrainingDivergedError, match=f"stopped at step 6: .*{what}.*last good .*step-00000004"
    ) as error:
        run(model, rows, folder=tmp_path, objective=diverging, checkpoint_every=2)
    assert [record.step for record in error.value.history.steps] == [1, 2, 3, 4, 5]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, calls[5][name])  # the weights of before that step
    resumed = run(make_model(), rows, folder=tmp_path, resume=True, checkpoint_every=2)
    assert len(resumed.steps) == 12


def test_a_rate_that_is_too_high_is_found_out(make_model, rows):
    with pytest.raises(TrainingDivergedError, match="lower learning rate"):
        run(make_model(), rows, optimizer="adamw", adamw_learning_rate=1e30, warmup=0.0, steps=50)


def test_trains_on_the_objective_it_is_given(make_model):
    """A model of y = 2x, on rows that are no text."""
    model = nn.Linear(1, 1)
    rows = torch.stack([torch.arange(16), 2 * torch.arange(16)], dim=1)

    def squared_error(model, part):
        return F.mse_loss(model(part[:, :1].float()), part[:, 1:].float())

    settings = {"optimizer": "adamw", "adamw_learning_rate": 0.1, "weight_decay": 0.0, "steps": 200}
    history = run(model, Blocks(rows, rows), objective=squared_error, **settings)
    assert history.evaluations[-1].loss < 0.01
    assert model.weight.item() == pytest.approx(2, abs=0.1)


def test_bfloat16_is_mixed_precision(make_model, rows):
    seen = []

    def looking(model, part):
        seen.append(model(part[:, :-1]).dtype)
        return next_token_loss(model, part)

    model = make_model()
    history = run(model, rows, precision="bfloat16", objective=looking)
    assert set(seen) == {torch.bfloat16}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert losses(history) == pytest.approx(losses(run(make_model(), rows)), rel=0.02)


def test_shows_progress_only_when_asked(make_model, rows, capsys):
    run(make_model(), rows, steps=2)
    assert capsys.readouterr() == ("", "")
    train(make_model(), rows, TrainConfig(steps=2, batch_size=8))
    shown = capsys.readouterr().err
    assert "Training: 100%" in shown
    assert "step 2, loss 3." in shown


def test_the_bar_of_a_resumed_run_starts_where_the_run_was(make_model, rows, tmp_path, capsys):
    run(make_model(), rows, folder=tmp_path, steps=3)
    train(make_model(), rows, TrainConfig(steps=4, batch_size=8), folder=tmp_path, resume=True)
    assert capsys.readouterr().err.lstrip().startswith("Training:  75%")


def test_refuses_a_batch_that_does_not_fit(make_model, rows):
    with pytest.raises(ValueError, match=r"batch of 8 rows cannot be cut into 3 pieces.*multiple of 3"):
        run(make_model(), rows, accumulation=3)
    with pytest.raises(ValueError, match="takes 64 rows, but there are only 48"):
        run(make_model(), rows, batch_size=64)


def test_refuses_to_overwrite_or_to_resume_from_nowhere(make_model, rows, tmp_path):
    run(make_model(), rows, folder=tmp_path, steps=2)
    with pytest.raises(FileExistsError, match=r"the newest step-00000002\. Go on from it with resume=True"):
        run(make_model(), rows, folder=tmp_path, steps=2)
    with pytest.raises(ValueError, match="say where the checkpoints are with folder="):
        run(make_model(), rows, resume=True)


def test_refuses_to_resume_another_run(make_model, rows, tmp_path):
    run(make_model(), rows, folder=tmp_path, steps=2)
    with pytest.raises(
        ValueError, match=r"other settings .learning_rate: 0.02 then, 0.5 now; seed: 0 then, 3 now."
    ):
        run(make_model(), rows, folder=tmp_path, resume=True, learning_rate=0.5, seed=3)
    with pytest.raises(ValueError, match=r"rows to learn from: \[48, 9\] then, \[40, 9\] now"):
        run(make_model(), rows[:40], folder=tmp_path, resume=True)


def test_names_a_token_beyond_the_vocabulary(make_model, rows):
    with pytest.raises(IndexError, match=r"out of (range|bounds)"):
        run(make_model(vocab_size=16), rows)
