"""The training loop (Chapter 3)."""

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from llmlib.training import distributed, state
from llmlib.training.config import TrainConfig
from llmlib.training.data import Batches, Blocks
from llmlib.training.history import EvaluationRecord, History, StepRecord
from llmlib.training.objective import Objective, mean_loss, mixed_precision, next_token_loss
from llmlib.training.optimizers import build_optimizers, set_learning_rate
from llmlib.training.resume import Checkpoints


class TrainingDivergedError(FloatingPointError):
    """The loss or its gradient is no longer a finite number.

    Attributes:
        history: The record of the run up to the last good step.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


def train(
    model: nn.Module,
    data: Blocks | np.ndarray | Tensor,
    config: TrainConfig,
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    objective: Objective = next_token_loss,
    progress: bool = True,
) -> History:
    """Train a model, in place (Chapter 3).

    The same call in a script that ``torchrun`` starts trains in several processes, and gives the same losses.

    Args:
        model: Any module; with the default objective, one whose ``model(ids)`` gives logits (B, T, V).
        data: The rows to learn from and the rows held out, or the former alone.
        config: The settings.
        folder: Where checkpoints go, of which the two newest are kept; None makes none.
        resume: Whether to go on from the newest checkpoint in ``folder``. Without one the run starts anew.
        objective: The mean loss of a batch, from the model and its rows. Random numbers that it draws from
            PyTorch's generators are seeded.
        progress: Whether to show a progress bar.

    Returns:
        The record of every step and every evaluation, those before an interruption included.

    Raises:
        TrainingDivergedError: The loss or the gradient became infinite or NaN. The weights are those of
            before that step, and the last checkpoint is kept.
        ValueError: The settings do not fit the model, the data, the number of processes or the checkpoint; or
            the checkpoint is damaged or of another model.
        FileExistsError: ``folder`` has checkpoints and ``resume`` is not set.
        OSError: A checkpoint cannot be written or read.
    """
    blocks = data if isinstance(data, Blocks) else Blocks(data)
    world = distributed.join(model)
    context = mixed_precision(config.precision, world.device)
    batches = Batches(
        blocks.train,
        config.batch_size,
        config.seed,
        config.accumulation,
        world.rank,
        world.size,
        world.device,
    )
    checkpoints = Checkpoints(folder, resume, config, blocks, world)
    engine = distributed.share(model, config.parallel, world)
    forward: nn.Module = torch.compile(engine) if config.compile else engine  # type: ignore[assignment]
    optimizers = build_optimizers(model, config)
    history = checkpoints.restore(model, optimizers)
    step, seconds = len(history.steps), history.seconds

    def evaluate() -> None:
        if blocks.validation is None or (history.evaluations and history.evaluations[-1].step == step):
            return
        size = config.batch_size // (config.accumulation * world.size)
        world.seed(config.seed, 0)
        loss = mean_loss(
            model, blocks.validation, objective=objective, batch_size=size, context=context, world=world
        )
        history.evaluations.append(EvaluationRecord(step, loss, seconds))

    bar = _bar(config.progress(step, seconds), progress and world.rank == 0)
    with _training(model, world.device), bar:
        while (spent := config.progress(step, seconds)) < 1:
            started = time.perf_counter()
            world.seed(config.seed, step)
            set_learning_rate(optimizers, factor := config.factor(spent))

            # The gradients of the pieces add up to the gradient of the mean loss of the batch.
            loss = torch.zeros((), device=world.device)
            for piece, rows in enumerate(batches.of(step), start=1):
                with distributed.average_gradients(engine, piece == config.accumulation):
                    with context():
                        part = objective(forward, rows) / config.accumulation
                    part.backward()
                loss += part.detach()
            norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip or math.inf)

            record = StepRecord(step + 1, float(world.mean(loss)), factor, float(state.whole(norm)), seconds)
            if not (math.isfinite(record.loss) and math.isfinite(record.gradient_norm)):
                raise TrainingDivergedError(_diverged(record, checkpoints.newest), history)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            step += 1
            seconds = world.agree(seconds + time.perf_counter() - started)
            history.steps.append(dataclasses.replace(record, seconds=seconds))

            if _is_due(step, config.evaluate_every):
                evaluate()
            if _is_due(step, config.checkpoint_every):
                checkpoints.save(model, optimizers, history)
            _show(bar, config.progress(step, seconds), history)
        evaluate()
        checkpoints.save(model, optimizers, history)
        _show(bar, 1.0, history)
    return history


def _is_due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


@contextlib.contextmanager
def _training(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Training mode inside; afterwards the mode and PyTorch's random numbers are as they were."""
    mode = model.training
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model.train()
        try:
            yield
        finally:
            model.train(mode)


def _diverged(record: StepRecord, newest: Path | None) -> str:
    kept = f"The last good checkpoint is {newest}." if newest else "No checkpoint was saved."
    return (
        f"Training stopped at step {record.step}: the loss is {record.loss:g} and the norm of its gradient "
        f"{record.gradient_norm:g}, at {record.learning_rate:.0%} of the peak learning rate. The weights are "
        f"those of before this step. {kept} Try a lower learning rate, a longer warm-up or a smaller clip."
    )


def _bar(progress: float, shown: bool) -> tqdm:
    layout = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    return tqdm(
        total=1.0, initial=progress, desc="Training", bar_format=layout, disable=not shown, mininterval=0.5
    )


def _show(bar: tqdm, progress: float, history: History) -> None:
    """Move the bar on, with the newest losses beside it."""
    shown = [f"step {len(history.steps)}"]
    if history.steps:
        shown.append(f"loss {history.steps[-1].loss:.3f}")
    if history.evaluations:
        shown.append(f"held out {history.evaluations[-1].loss:.3f}")
    bar.set_postfix_str(", ".join(shown), refresh=False)
    bar.update(progress - bar.n)
