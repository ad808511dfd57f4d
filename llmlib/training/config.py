"""The settings of a training run."""

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from llmlib.training.schedule import Schedule, learning_rate_factor

CHOICES = {
    "optimizer": ("muon", "adamw"),
    "precision": ("auto", "float32", "bfloat16"),
    "parallel": ("ddp", "fsdp"),
}
# A run may be resumed with other values of these: they say how long and how to compute, not what to compute.
RESUMABLE = {"steps", "seconds", "accumulation", "compile", "parallel", "evaluate_every", "checkpoint_every"}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run (Chapter 3).

    Attributes:
        steps: The budget in steps: updates of the weights.
        seconds: The budget in seconds. The clock stops while the model is evaluated or saved. One of the two
            budgets must be set; of both, the one that ends first counts.
        batch_size: Rows (blocks) in a step, over all devices, B.
        accumulation: In how many pieces a batch is worked through, to save memory. The update is the same.
        optimizer: ``"muon"`` for Muon on the matrices and AdamW on the rest, or ``"adamw"`` for all.
        learning_rate: The peak learning rate of Muon.
        adamw_learning_rate: The peak learning rate of AdamW.
        weight_decay: The decoupled weight decay of matrices and embeddings.
        schedule: ``"constant"``, ``"linear"``, ``"cosine"`` or ``"warmup-stable-decay"``.
        warmup: The share of the budget in which the learning rate rises.
        decay: The share of the budget in which ``"warmup-stable-decay"`` falls.
        clip: The largest norm of the gradient; a longer gradient is shortened to it. None: any norm.
        precision: The type of the matrix multiplications: ``"float32"``, ``"bfloat16"`` (mixed precision), or
            ``"auto"`` for bfloat16 on CUDA and float32 elsewhere.
        compile: Whether to compile the model with ``torch.compile`` (needs a C++ compiler).
        parallel: What the processes of ``torchrun`` share: ``"ddp"`` the batch, ``"fsdp"`` the weights too.
        evaluate_every: Steps from one evaluation to the next; None evaluates at the end alone.
        checkpoint_every: Steps from one checkpoint to the next; None saves at the end alone.
        seed: Decides the order of the rows and every random number, such as those of dropout.

    Raises:
        ValueError: A setting is not within its bounds; the message says which.
    """

    steps: int | None = None
    seconds: float | None = None
    batch_size: int = 16
    accumulation: int = 1
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 0.02
    adamw_learning_rate: float = 0.005
    weight_decay: float = 0.1
    schedule: Schedule = "linear"
    warmup: float = 0.05
    decay: float = 0.2
    clip: float | None = 1.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError("The run has no end: set the budget with steps=... or seconds=...")
        for name in ("steps", "batch_size", "accumulation", "evaluate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number, 1 or larger, but it is {value!r}.")
        for name in ("seconds", "learning_rate", "adamw_learning_rate", "clip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a number above 0, but it is {value!r}.")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be 0 or larger, but it is {self.weight_decay!r}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number, 0 or larger, but it is {self.seed!r}.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, but it is {getattr(self, name)!r}.")
        learning_rate_factor(self.schedule, 0.0, warmup=self.warmup, decay=self.decay)  # checks the three

    def progress(self, step: int, seconds: float) -> float:
        """The share of the budget that is spent after ``step`` steps and ``seconds`` seconds, from 0 to 1."""
        of_steps = step / self.steps if self.steps else 0.0
        of_seconds = seconds / self.seconds if self.seconds else 0.0
        return min(1.0, max(of_steps, of_seconds))

    def factor(self, progress: float) -> float:
        """The share of the peak learning rate at ``progress``; see :func:`learning_rate_factor`."""
        return learning_rate_factor(self.schedule, progress, warmup=self.warmup, decay=self.decay)

    def changed(self, saved: dict[str, Any]) -> list[str]:
        """The settings of a saved run that this one would not continue, each as ``name: then, now``."""
        now = {name: value for name, value in dataclasses.asdict(self).items() if name not in RESUMABLE}
        return [
            f"{name}: {saved.get(name)!r} then, {now[name]!r} now"
            for name in now
            if saved.get(name) != now[name]
        ]
