"""What an operation costs, in arithmetic and in bytes moved, and which of the two a machine waits for (Chapter 6).

Williams, Waterman and Patterson 2009, "Roofline": a machine that computes at most so fast and moves bytes at most so
fast spends on an operation at least the longer of the two times. FLOPs divided by bytes is an operation's *arithmetic
intensity*, and the machine's ridge is the intensity from which on arithmetic is what takes the time.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

PER_SCORE = 5
"""What softmax does to a score: compare for the maximum, subtract it, exponentiate, add up, divide."""


@dataclass(frozen=True)
class Work:
    """An operation's cost (Chapter 6).

    Attributes:
        flops: Additions, multiplications and other operations on single numbers.
        bytes: What moves between slow and fast memory.
    """

    flops: int
    bytes: int

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best (Chapter 6).

    Attributes:
        name: What it is called.
        flops: FLOP/s of a matrix product.
        bandwidth: Bytes per second between slow memory and where it computes.
        itemsize: Bytes of the numbers that ``flops`` is about.
    """

    name: str
    flops: float
    bandwidth: float
    itemsize: int

    @property
    def ridge(self) -> float:
        """The intensity, in FLOP/byte, above which arithmetic takes longer than moving."""
        return self.flops / self.bandwidth

    def attainable(self, intensity: float) -> float:
        """The roof: how many FLOP/s are possible at an intensity."""
        return min(self.flops, intensity * self.bandwidth)

    def seconds(self, work: Work) -> float:
        """The time that some work takes at least."""
        return max(work.flops / self.flops, work.bytes / self.bandwidth)


H100 = Machine("H100 SXM", 989.4e12, 3.35e12, 2)
"""NVIDIA's own figures: dense bfloat16 or float16 products on tensor cores, and its HBM3 memory."""


def matrix_product(n: int, itemsize: int) -> Work:
    """Two n × n matrices, each read once, and their product.

    Args:
        n: Rows and columns.
        itemsize: Bytes of a number.
    """
    return Work(2 * n**3, 3 * n * n * itemsize)


def softmax(n: int, itemsize: int) -> Work:
    """Softmax over the rows of n × n scores, read once and written once.

    Args:
        n: Rows and columns.
        itemsize: Bytes of a number.
    """
    return Work(PER_SCORE * n * n, 2 * n * n * itemsize)


def textbook(n: int, width: int, itemsize: int) -> Work:
    """One head of attention in three steps: scores, softmax, mean of values.

    Each step reads its input from slow memory and writes its output there: n² numbers go to and fro twice.

    Args:
        n: T = S, the length.
        width: D.
        itemsize: Bytes of a number.
    """
    return Work((4 * width + PER_SCORE) * n * n, (4 * n * n + 4 * n * width) * itemsize)


def flash(n: int, width: int, itemsize: int, rows: int) -> Work:
    """One head of attention tile by tile.

    The arithmetic is that of :func:`textbook`; that the running sums shrink for a higher maximum is not counted.
    Queries and output move once, keys and values once for each tile of queries, and log Σ exp(score) of each query
    is written in float32.

    Args:
        n: T = S, the length.
        width: D.
        itemsize: Bytes of a number.
        rows: Queries of a tile. With n of them keys and values move once, as they would if a cache held them all.
    """
    tiles = -(-n // rows)
    moved = (2 * n * width + tiles * 2 * n * width) * itemsize + 4 * n
    return Work((4 * width + PER_SCORE) * n * n, moved)


def measured(device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Machine:
    """This machine, as it is: the best of some matrix products, and of some copies that no cache can hold.

    Args:
        device: What computes.
        dtype: The numbers of the products.

    Returns:
        The machine; on two cores it takes a second.
    """
    device = torch.device(device)
    size, long = (1024, 2**26) if device.type == "cpu" else (8192, 2**28)
    a, b = torch.rand(2, size, size, device=device).to(dtype)
    source = torch.rand(long, device=device)
    target = torch.empty_like(source)
    product = _quickest(lambda: torch.mm(a, b), device)
    copy = _quickest(lambda: target.copy_(source), device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
    return Machine(name, 2 * size**3 / product, 2 * source.nbytes / copy, a.element_size())


def _quickest(work: Callable[[], object], device: torch.device, times: int = 7) -> float:
    """The shortest of some times, in seconds."""
    best = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        best = min(best, time.perf_counter() - begun)
    return best
