"""The checkpoints of one run: what is saved, and when a run may go on from it."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import filelock
from torch import nn
from torch.optim import Optimizer

from llmlib.training import checkpoint, state
from llmlib.training.config import TrainConfig
from llmlib.training.data import Blocks
from llmlib.training.distributed import World
from llmlib.training.history import History


class Checkpoints:
    """The folder in which a run keeps its checkpoints.

    Args:
        folder: The folder; None keeps none.
        resume: Whether to go on from the newest checkpoint in it.
        config: The settings of the run.
        blocks: Its rows.
        world: The processes, of which the first one writes.

    Raises:
        FileExistsError: There are checkpoints, and ``resume`` is not set.
        ValueError: ``resume`` is set without a folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        resume: bool,
        config: TrainConfig,
        blocks: Blocks,
        world: World,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.config = config
        self.rows = list(blocks.train.shape)
        self.world = world
        if self.folder is None and resume:
            raise ValueError("There is nothing to resume from: say where the checkpoints are with folder=...")
        if self.newest is not None and not resume:
            raise FileExistsError(
                f"{self.folder} holds checkpoints of a run, the newest {self.newest.name}. Go on from it "
                "with resume=True, or choose another folder."
            )

    @property
    def newest(self) -> Path | None:
        """The newest checkpoint, or None."""
        found = checkpoint.find(self.folder) if self.folder is not None else []
        return found[-1] if found else None

    @contextlib.contextmanager
    def reserved(self) -> Iterator[None]:
        """Keep other runs out of the folder meanwhile.

        Raises:
            BlockingIOError: Another run is in it.
        """
        if self.folder is None or self.world.rank > 0:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with filelock.FileLock(self.folder / ".lock").acquire(timeout=0):
                yield
        except filelock.Timeout:
            raise BlockingIOError(
                f"Another run is training into {self.folder} just now, and the two would overwrite each other's "
                "checkpoints. Wait until it ends or stop it, or choose another folder."
            ) from None

    def restore(self, model: nn.Module, optimizers: list[Optimizer]) -> History:
        """Go on from the newest checkpoint, if there is one.

        Args:
            model: Gets the weights.
            optimizers: Get what they remembered.

        Returns:
            The history so far, empty without a checkpoint.

        Raises:
            ValueError: The checkpoint is damaged, of another model, or of a run with other settings.
        """
        path = self.newest
        if path is None:
            return History()
        saved = checkpoint.load(path)
        checkpoint.check_model(model, saved.model, path)
        changed = self.config.changed(saved.record["settings"])
        if saved.record["rows"] != self.rows:
            changed.append(f"rows to learn from: {saved.record['rows']} then, {self.rows} now")
        if changed:
            raise ValueError(
                f"The checkpoint {path} is of a run with other settings ({'; '.join(changed)}). Resume it "
                "with those, or start another run in another folder."
            )
        state.restore_model(model, saved.model)
        state.restore_optimizers(model, optimizers, saved.optimizer)
        return History.from_json(saved.record["history"])

    def save(self, model: nn.Module, optimizers: list[Optimizer], history: History) -> None:
        """Save what :meth:`restore` needs, unless there is no folder or this step is saved already."""
        step = len(history.steps)
        if self.folder is None or (self.newest is not None and checkpoint.step_of(self.newest) == step):
            return
        weights = state.copies(state.model_tensors(model))
        remembered = state.copies(state.optimizer_tensors(model, optimizers))
        settings = dataclasses.asdict(self.config)
        record = {"settings": settings, "rows": self.rows, "history": history.to_json()}
        if self.world.rank == 0:
            checkpoint.save(self.folder, checkpoint.Checkpoint(step, weights, remembered, record))
        self.world.wait()
