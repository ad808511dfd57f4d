"""What happened in a training run, step by step."""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmlib.training.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class StepRecord:
    """One step: an update of the weights.

    Attributes:
        step: Its number, from 1.
        loss: The mean loss of the batch before the update, in nats a token.
        learning_rate: The share of the peak learning rate, from 0 to 1.
        gradient_norm: The norm of the gradient before clipping.
        seconds: Time spent on training up to the end of this step.
    """

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation: the mean loss on the rows held out, in nats a token, after ``step`` steps."""

    step: int
    loss: float
    seconds: float


@dataclass
class History:
    """The record of a training run (Chapter 3).

    Attributes:
        steps: One record for each step.
        evaluations: One record for each evaluation.
    """

    steps: list[StepRecord] = field(default_factory=list)
    evaluations: list[EvaluationRecord] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time spent on training. Evaluations and checkpoints are not counted."""
        return self.steps[-1].seconds if self.steps else 0.0

    def to_json(self) -> dict[str, Any]:
        """The records as lists of dictionaries."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, records: dict[str, Any]) -> "History":
        """The history that :meth:`to_json` gave.

        Raises:
            TypeError: A record has other fields.
            KeyError: A list of records is missing.
        """
        return cls(
            [StepRecord(**record) for record in records["steps"]],
            [EvaluationRecord(**record) for record in records["evaluations"]],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the records to a JSON file, all or nothing.

        Args:
            path: The file, which is replaced if it exists.

        Raises:
            OSError: The file cannot be written.
        """
        write_atomically(Path(path), json.dumps(self.to_json(), indent=1).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "History":
        """Read a file of :meth:`save`.

        Args:
            path: The file.

        Returns:
            The history.

        Raises:
            OSError: The file cannot be read.
            ValueError: The file is damaged or holds something else.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_bytes()))
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} is not a history of llmlib.training, or it is damaged: {error}"
            ) from error

    def plot(self, axes: "Axes", x: Literal["step", "seconds"] = "step", label: str | None = None) -> None:
        """Draw the loss into axes of matplotlib: every step pale, evaluations as a line with dots.

        Args:
            axes: Where to draw; several histories may share it.
            x: What the horizontal axis counts.
            label: The run's name for a legend.
        """
        (line,) = axes.plot(
            [getattr(record, x) for record in self.steps], [r.loss for r in self.steps], alpha=0.35
        )
        if self.evaluations:
            at = [getattr(record, x) for record in self.evaluations]
            losses = [record.loss for record in self.evaluations]
            axes.plot(at, losses, marker="o", markersize=4, color=line.get_color(), label=label or "held out")
            line.set_label(None if label else "training")
        else:
            line.set_label(label or "training")
        axes.set_xlabel("steps" if x == "step" else "training time in seconds")
        axes.set_ylabel("loss in nats a token")
