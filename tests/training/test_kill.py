import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llmlib.training import TrainConfig, checkpoint, train

HERE = Path(__file__).parent
KILLS = 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL: Linux or macOS")
def test_kill_9_at_any_moment_loses_one_step_and_no_file(tmp_path, rows, make_model):
    """With a checkpoint each step, at most the step under way and the one being saved are made again."""
    np.save(tmp_path / "rows.npy", rows)
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, HERE / "kill_training.py", tmp_path, str(KILLS)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [killed for killed, _, _ in lines] == ["True"] * KILLS
    for _, begun, saved in lines:
        assert int(begun) - 2 <= int(saved) <= int(begun)

    # What is under a checkpoint's name is whole, and the run ends as if it had never been killed.
    for path in checkpoint.find(tmp_path / "run"):
        checkpoint.load(path)
    config = TrainConfig(steps=60, batch_size=8, checkpoint_every=1)
    killed, whole = make_model(dropout=0.1), make_model(dropout=0.1)
    resumed = train(killed, rows, config, folder=tmp_path / "run", resume=True, progress=False)
    uninterrupted = train(whole, rows, config, progress=False)
    assert [record.loss for record in resumed.steps] == [record.loss for record in uninterrupted.steps]
    for name, tensor in killed.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name]), name
    hidden = {path.name for path in (tmp_path / "run").iterdir() if path.name.startswith(".")}
    assert hidden <= {".lock"}
