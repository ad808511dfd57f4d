"""Train in a child process that is killed again and again; run by test_kill.py.

Arguments: the folder, and how often to kill. Prints for each kill the steps begun and the newest checkpoint.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from conftest import TinyModel

from llmlib.training import TrainConfig, checkpoint, next_token_loss, train

CONFIG = TrainConfig(steps=60, batch_size=8, checkpoint_every=1)


def run(folder, begun, rows):
    import torch

    torch.manual_seed(0)

    def objective(model, rows):
        os.write(begun, b".")
        return next_token_loss(model, rows)

    train(
        TinyModel(dropout=0.1), rows, CONFIG, folder=folder, resume=True, objective=objective, progress=False
    )


def main(folder, kills):
    import numpy as np

    rows = np.load(folder / "rows.npy")
    moment = random.Random(0)
    for _ in range(kills):
        begun = os.open(folder / "begun", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
        found = checkpoint.find(folder / "run")
        start = int(found[-1].name[5:]) if found else 0
        child = os.fork()
        if child == 0:
            run(folder / "run", begun, rows)
            os._exit(0)
        while (folder / "begun").stat().st_size < 5:
            time.sleep(0.001)
        time.sleep(moment.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(begun)
        steps = start + (folder / "begun").stat().st_size
        print(os.WIFSIGNALED(status), steps, checkpoint.find(folder / "run")[-1].name[5:], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
