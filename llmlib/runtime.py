"""What this machine is and can do: its device, its number type, its seeds, and how much work it can afford.

Every chapter starts here, so importing this module loads nothing heavy; torch is imported where it is used.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
GIB = 2**30
# A graphics card below this size is kept to the small versions of the chapters.
LARGE_MEMORY = 12 * GIB


def device() -> torch.device:
    """The device to compute on: CUDA if there is one, else Apple's MPS, else the CPU.

    The environment variable LLMLIB_DEVICE overrides the choice: ``cpu``, ``mps``, ``cuda`` or ``cuda:1``.

    Returns:
        The device.

    Raises:
        ValueError: LLMLIB_DEVICE names no device, or one that this machine lacks.
    """
    import torch

    there = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": 1 if torch.backends.mps.is_available() else 0,
        "cpu": 1,
    }
    name = os.environ.get("LLMLIB_DEVICE")
    if not name:
        return torch.device(next(kind for kind, number in there.items() if number))
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = None
    if chosen is None or (chosen.index or 0) >= there.get(chosen.type, 0):
        devices = [
            kind if number == 1 else f"{kind}:0 … {number - 1}" for kind, number in there.items() if number
        ]
        raise ValueError(
            f"LLMLIB_DEVICE is {name!r}, but the devices of this machine are: {', '.join(devices)}. "
            "Set it to one of them, or unset it."
        )
    return chosen


def dtype(device: torch.device | str) -> torch.dtype:
    """The number type to compute in on a device.

    Args:
        device: The device, as from :func:`device`.

    Returns:
        ``bfloat16`` on a CUDA device that has it in hardware (Ampere and later): half the memory of
        ``float32`` with the same range. Else ``float32``.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return torch.bfloat16
    return torch.float32


def seed(n: int) -> torch.Generator:
    """Seed every source of random numbers that the book uses: Python, NumPy, and PyTorch on every device.

    Args:
        n: The seed, from 0 to 2**32 - 1.

    Returns:
        PyTorch's default generator for the CPU, for functions that ask for one.

    Raises:
        TypeError: ``n`` is not an integer.
        ValueError: ``n`` is out of range.
    """
    import numpy as np
    import torch

    if isinstance(n, bool) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"A seed must be an integer, but this is {n!r}.")
    if not 0 <= n < 2**32:
        raise ValueError(f"A seed must be from 0 to 2**32 - 1 (NumPy takes no other), but this is {n}.")
    random.seed(int(n))
    np.random.seed(int(n))
    return torch.manual_seed(int(n))


@dataclass(frozen=True)
class Budget:
    """How much work this machine can afford.

    Attributes:
        size: ``"small"``: two cores suffice for what a chapter does. ``"large"``: there is a GPU for more.
        device: The type of the device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        cores: The processor cores that this process may use.
        memory: The memory of the device in bytes, or None if the system does not tell.
    """

    size: Literal["small", "large"]
    device: str
    cores: int
    memory: int | None

    def __str__(self) -> str:
        memory = "unknown memory" if self.memory is None else f"{self.memory / GIB:.0f} GiB"
        return f"{self.size} budget: {self.device}, {self.cores} cores, {memory}"

    def choose(self, *, small: T, large: T) -> T:
        """One of two values, so that the same cell runs on two cores and makes use of a GPU.

        >>> budget().choose(small=100, large=10_000)  # steps of training, on two cores
        100
        """
        return large if self.size == "large" else small


def budget() -> Budget:
    """What this machine can afford: large with a CUDA device of at least 12 GiB, else small.

    The environment variable LLMLIB_BUDGET overrides the size: ``small`` or ``large``.

    Returns:
        The budget, with what it was decided by.

    Raises:
        ValueError: LLMLIB_BUDGET is something else, or LLMLIB_DEVICE names a device that is not there.
    """
    import torch

    chosen = device()
    on_gpu = chosen.type == "cuda"
    memory = torch.cuda.get_device_properties(chosen).total_memory if on_gpu else _main_memory()
    size = os.environ.get("LLMLIB_BUDGET") or (
        "large" if on_gpu and memory is not None and memory >= LARGE_MEMORY else "small"
    )
    if size not in ("small", "large"):
        raise ValueError(f"LLMLIB_BUDGET is {size!r}, but it must be 'small' or 'large', or not be set.")
    return Budget(cast(Literal["small", "large"], size), chosen.type, _cores(), memory)


def _cores() -> int:
    """The cores that this process may use, which may be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _main_memory() -> int | None:
    """The main memory in bytes, where the system tells it without help (Linux and macOS, not Windows)."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
