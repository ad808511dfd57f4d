import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llmlib.training import Blocks, History, TrainConfig, load_weights, train

HERE = Path(__file__).parent
PROCESSES = 2
RUNS = [(engine, optimizer) for engine in ("ddp", "fsdp") for optimizer in ("muon", "adamw")]


@pytest.fixture(scope="module")
def results(tmp_path_factory, rows):
    """The folder with what two processes of torchrun made."""
    folder = tmp_path_factory.mktemp("torchrun")
    np.save(folder / "rows.npy", rows)
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={PROCESSES}",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = [*torchrun, HERE / "train_distributed.py", folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def load(results, name, rank=0):
    shared, history = json.loads((results / f"{name}-{rank}.json").read_text())
    return shared, History.from_json(history)


@pytest.mark.parametrize(("engine", "optimizer"), RUNS)
def test_two_processes_have_the_losses_of_one(results, make_model, rows, engine, optimizer):
    model = make_model()
    config = TrainConfig(steps=8, batch_size=8, optimizer=optimizer, schedule="constant", evaluate_every=4)
    alone = train(model, Blocks(rows, rows[:13]), config, progress=False)
    _, together = load(results, f"{engine}-{optimizer}")
    for records in ("steps", "evaluations"):
        expected = [record.loss for record in getattr(alone, records)]
        assert [record.loss for record in getattr(together, records)] == pytest.approx(expected, rel=1e-5), (
            records
        )
    norms = [record.gradient_norm for record in alone.steps]
    assert [record.gradient_norm for record in together.steps] == pytest.approx(norms, rel=1e-4)

    # The checkpoint of the two is that of one: it has the whole weights under the model's own names.
    loaded = make_model(seed=1)
    load_weights(loaded, results / f"{engine}-{optimizer}")
    for one, other in zip(loaded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("engine", "optimizer"), RUNS)
def test_every_process_has_the_same_record(results, engine, optimizer):
    assert load(results, f"{engine}-{optimizer}", 0) == load(results, f"{engine}-{optimizer}", 1)


@pytest.mark.parametrize(("engine", "optimizer"), RUNS)
def test_only_fsdp_shares_the_weights_out(results, engine, optimizer):
    shared, _ = load(results, f"{engine}-{optimizer}")
    assert shared == (engine == "fsdp")


@pytest.mark.parametrize(("engine", "optimizer"), RUNS)
def test_one_process_goes_on_where_two_stopped(results, make_model, rows, engine, optimizer):
    config = TrainConfig(steps=10, batch_size=8, optimizer=optimizer, schedule="constant", evaluate_every=4)
    blocks = Blocks(rows, rows[:13])
    folder = results / f"{engine}-{optimizer}"
    resumed = train(make_model(seed=1), blocks, config, folder=folder, resume=True, progress=False)
    alone = train(make_model(), blocks, config, progress=False)
    expected = [record.loss for record in alone.steps]
    assert [record.loss for record in resumed.steps] == pytest.approx(expected, rel=1e-5)
