"""The rows that a model is trained on, and which of them belong to a step."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, Integer
from torch import Tensor


@dataclass(frozen=True)
class Blocks:
    """Rows of token ids to learn from, and rows held out (Chapter 3).

    For next-token prediction a row has one token more than the model sees at once: the first T are its input,
    the last T are what it should predict.

    Attributes:
        train: Shape (N, T + 1), integers: an array, such as :func:`llmlib.corpora.pack` makes, or a tensor. A
            memory map of a file will do, so there may be more rows than fit into memory.
        validation: The same with other documents, or None.

    Raises:
        ValueError: An array has another number of axes, no row, or a negative id.
        TypeError: An array does not hold integers.
    """

    train: Integer[np.ndarray, "N T1"] | Integer[Tensor, "N T1"]
    validation: Integer[np.ndarray, "M T1"] | Integer[Tensor, "M T1"] | None = None

    def __post_init__(self) -> None:
        for name, rows in (("train", self.train), ("validation", self.validation)):
            if rows is not None:
                _check(name, rows)
        if self.validation is not None and self.train.shape[1] != self.validation.shape[1]:
            raise ValueError(
                f"Rows to learn from have {self.train.shape[1]} tokens, but rows held out have "
                f"{self.validation.shape[1]}. Cut both with the same length."
            )


@dataclass(frozen=True)
class Batches:
    """The batches of a run, as far as one process works through them.

    Attributes:
        rows: All rows, shape (N, T + 1).
        size: Rows in a batch, over all processes, B.
        seed: Decides the order of the rows.
        pieces: In how many pieces each process works through its part.
        rank: Which process this is, from 0.
        ranks: How many processes there are.
        device: Where the rows go.

    Raises:
        ValueError: A batch cannot be parted equally, or there are too few rows for one.
    """

    rows: np.ndarray | Tensor
    size: int
    seed: int
    pieces: int = 1
    rank: int = 0
    ranks: int = 1
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if self.size % (self.pieces * self.ranks):
            raise ValueError(
                f"A batch of {self.size} rows cannot be cut into {self.pieces} pieces for each of "
                f"{self.ranks} processes: make batch_size a multiple of {self.pieces * self.ranks}."
            )
        if len(self.rows) < self.size:
            raise ValueError(
                f"A batch takes {self.size} rows, but there are only {len(self.rows)} to learn from."
            )

    def numbers(self, step: int) -> Int[np.ndarray, " B"]:
        """Which rows belong to a step, counted from 0 (Chapter 3).

        The rows are shuffled anew for each epoch, and the epochs are laid end to end and cut into batches:
        every row is seen once before any is seen again, and none is left out. The answer depends on nothing
        that was asked before, so a run that was interrupted goes on with the rows that come next.
        """
        places = range(step * self.size, (step + 1) * self.size)
        count = len(self.rows)
        return np.array([_order(count, self.seed, place // count)[place % count] for place in places])

    def of(self, step: int) -> Iterator[Int[Tensor, "b T1"]]:
        """The rows of this process in a step, piece by piece, as 64-bit integers."""
        for piece in self.numbers(step).reshape(self.pieces, self.ranks, -1)[:, self.rank]:
            yield torch.as_tensor(self.rows[piece]).to(self.device, torch.int64, non_blocking=True)


@lru_cache(maxsize=2)  # a batch can lie in two epochs
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _check(name: str, rows: np.ndarray | Tensor) -> None:
    if not isinstance(rows, (np.ndarray, Tensor)):
        raise TypeError(f"Blocks.{name} must be an array or a tensor, but it is a {type(rows).__name__}.")
    if not _holds_integers(rows):
        raise TypeError(f"Blocks.{name} must hold token ids (integers), but it holds {rows.dtype}.")
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] < 2:
        raise ValueError(
            f"Blocks.{name} must have the shape (rows, tokens of a row), with a row of two tokens at least, "
            f"but it has {tuple(rows.shape)}. Cut documents into rows with llmlib.corpora.pack."
        )
    if int(rows.min()) < 0:
        raise ValueError(f"Blocks.{name} has the token id {int(rows.min())}; ids are 0 or larger.")


def _holds_integers(rows: np.ndarray | Tensor) -> bool:
    if isinstance(rows, Tensor):
        return not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool)
    return rows.dtype.kind in "iu"
