"""What every process of torchrun does in test_distributed.py. Argument: the folder for the results."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from conftest import TinyModel
from torch.distributed.tensor import DTensor

from llmlib.training import Blocks, TrainConfig, train

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
rows = np.load(folder / "rows.npy")
for engine in ("ddp", "fsdp"):
    for optimizer in ("muon", "adamw"):
        name = f"{engine}-{optimizer}"
        for steps in (4, 8):  # the second run resumes the first
            torch.manual_seed(rank)  # each process starts with other weights: those of the first must count
            model = TinyModel()
            config = TrainConfig(
                steps=steps,
                batch_size=8,
                accumulation=2,
                parallel=engine,
                optimizer=optimizer,
                schedule="constant",
                evaluate_every=4,
            )
            history = train(
                model, Blocks(rows, rows[:13]), config, folder=folder / name, resume=True, progress=False
            )
        shared = all(isinstance(weight, DTensor) for weight in model.parameters())
        (folder / f"{name}-{rank}.json").write_text(json.dumps([shared, history.to_json()]))
