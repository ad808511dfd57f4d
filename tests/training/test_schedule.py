import pytest
import torch
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_wsd_schedule,
)

from llmlib.training import SCHEDULES, learning_rate_factor

STEPS, WARMUP, DECAY = 50, 10, 15
PEERS = {
    "constant": lambda optimizer: get_constant_schedule_with_warmup(optimizer, WARMUP),
    "linear": lambda optimizer: get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS),
    "cosine": lambda optimizer: get_cosine_schedule_with_warmup(optimizer, WARMUP, STEPS),
    "warmup-stable-decay": lambda optimizer: get_wsd_schedule(
        optimizer, WARMUP, DECAY, num_training_steps=STEPS, decay_type="linear"
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_those_of_transformers(schedule):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    peer = PEERS[schedule](optimizer)
    for step in range(STEPS + 1):
        ours = learning_rate_factor(schedule, step / STEPS, warmup=WARMUP / STEPS, decay=DECAY / STEPS)
        assert ours == pytest.approx(peer.get_last_lr()[0], abs=1e-12), step
        optimizer.step()
        peer.step()


def test_values_by_hand():
    at = [0, 0.1, 0.2, 0.6, 0.8, 0.9, 1]
    cosine = [0, 0.5, 1, 0.5, (1 - 2**-0.5) / 2, (1 - (1 + 2**-0.5) ** 0.5 / 2**0.5) / 2, 0]
    for schedule, expected in {
        "constant": [0, 0.5, 1, 1, 1, 1, 1],
        "linear": [0, 0.5, 1, 0.5, 0.25, 0.125, 0],
        "cosine": cosine,
        "warmup-stable-decay": [0, 0.5, 1, 1, 1, 0.5, 0],
    }.items():
        values = [learning_rate_factor(schedule, progress, warmup=0.2, decay=0.2) for progress in at]
        assert values == pytest.approx(expected, abs=1e-12), schedule


def test_without_warmup_the_first_step_has_the_full_rate():
    assert all(learning_rate_factor(schedule, 0) == 1 for schedule in SCHEDULES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": "exponential"}, "'exponential' is unknown.*constant, linear"),
        ({"progress": 1.01}, "from 0 to 1, but it is 1.01"),
        ({"progress": float("nan")}, "but it is nan"),
        ({"warmup": 1.0}, "below 1, but it is 1.0"),
        ({"warmup": -0.1}, "at least 0"),
        ({"decay": 0.0}, "above 0"),
        ({"warmup": 0.5, "decay": 0.6}, "at most 1 - warmup = 0.5, but it is 0.6"),
    ],
)
def test_refuses_what_is_no_schedule(arguments, message):
    with pytest.raises(ValueError, match=message):
        learning_rate_factor(**{"schedule": "linear", "progress": 0.5, **arguments})
