import pytest

from llmlib.training import TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "no end: set the budget with steps=... or seconds=..."),
        ({"steps": 0}, "steps must be a whole number, 1 or larger, but it is 0"),
        ({"steps": 1.5}, "steps .* but it is 1.5"),
        ({"steps": True}, "steps .* but it is True"),
        ({"seconds": -1}, "seconds must be a number above 0, but it is -1"),
        ({"seconds": float("nan")}, "seconds"),
        ({"steps": 1, "batch_size": 0}, "batch_size"),
        ({"steps": 1, "accumulation": 0}, "accumulation"),
        ({"steps": 1, "learning_rate": 0}, "learning_rate"),
        ({"steps": 1, "learning_rate": float("inf")}, "learning_rate"),
        ({"steps": 1, "clip": 0}, "clip"),
        ({"steps": 1, "weight_decay": -0.1}, "weight_decay"),
        ({"steps": 1, "seed": -1}, "seed"),
        ({"steps": 1, "evaluate_every": 0}, "evaluate_every"),
        ({"steps": 1, "optimizer": "sgd"}, "optimizer must be one of .*'muon', 'adamw'.*, but it is 'sgd'"),
        ({"steps": 1, "precision": "float16"}, "precision"),
        ({"steps": 1, "parallel": "tp"}, "parallel"),
        ({"steps": 1, "schedule": "step"}, "schedule 'step' is unknown"),
        ({"steps": 1, "warmup": 0.9}, "decay"),
    ],
)
def test_refuses_settings_out_of_bounds(settings, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**settings)


def test_progress_is_that_of_the_budget_that_ends_first():
    both = TrainConfig(steps=100, seconds=10)
    assert both.progress(50, 1) == 0.5
    assert both.progress(10, 9) == 0.9
    assert both.progress(10, 11) == 1
    assert TrainConfig(seconds=10).progress(10**6, 5) == 0.5


def test_names_the_settings_that_another_run_would_change():
    saved = {**TrainConfig(steps=5).__dict__}
    assert TrainConfig(steps=9, accumulation=2, evaluate_every=3, compile=True).changed(saved) == []
    assert TrainConfig(steps=5, seed=1, learning_rate=0.5).changed(saved) == [
        "learning_rate: 0.02 then, 0.5 now",
        "seed: 0 then, 1 now",
    ]
