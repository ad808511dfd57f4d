"""Training on a CUDA device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llmlib.training import Blocks, History, TrainConfig, train

HERE = Path(__file__).parent


def run(model, rows, folder=None, **settings):
    config = TrainConfig(**{"steps": 12, "batch_size": 8, **settings})
    history = train(
        model, Blocks(rows, rows[:5]), config, folder=folder, resume=folder is not None, progress=False
    )
    return [record.loss for record in history.steps] + [record.loss for record in history.evaluations]


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_gpu_has_the_losses_of_a_cpu(make_model, rows, optimizer):
    """Equal up to the rounding of bfloat16, which keeps 8 bits."""
    expected = run(make_model(), rows, optimizer=optimizer)
    model = make_model().cuda()
    assert run(model, rows, optimizer=optimizer) == pytest.approx(expected, rel=0.02)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@pytest.mark.gpu
def test_compiling_changes_no_loss(make_model, rows):
    expected = run(make_model().cuda(), rows)
    assert run(make_model().cuda(), rows, compile=True) == pytest.approx(expected, rel=0.01)


@pytest.mark.gpu
def test_a_gpu_resumes_with_the_same_random_numbers(make_model, rows, tmp_path):
    """A second run from the same checkpoint is bound to agree only as far as the device is deterministic."""
    settings = {"schedule": "constant", "warmup": 0.0, "precision": "float32"}
    expected = run(make_model(dropout=0.3).cuda(), rows, **settings)
    run(make_model(dropout=0.3).cuda(), rows, tmp_path, steps=5, **settings)
    resumed = run(make_model(seed=1, dropout=0.3).cuda(), rows, tmp_path, **settings)
    assert resumed[:12] == pytest.approx(expected[:12], rel=1e-4)


@pytest.mark.gpu
def test_torchrun_on_a_gpu(make_model, rows, tmp_path):
    np.save(tmp_path / "rows.npy", rows)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [*torchrun, HERE / "train_distributed.py", tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    for name in ("ddp-muon", "ddp-adamw", "fsdp-muon", "fsdp-adamw"):
        _, history = json.loads((tmp_path / f"{name}-0.json").read_text())
        found = [record.loss for record in History.from_json(history).steps]
        settings = {"steps": 8, "optimizer": name.split("-")[1], "schedule": "constant"}
        assert found == pytest.approx(run(make_model().cuda(), rows, **settings)[:8], rel=0.02), name
