"""Attention under a sliding window on the CPU: dense, fused and sparse, in time and memory, against the length.

    python -m benchmarks.attention [--json PATH]

Each query sees itself and a fixed number of positions before it. So the work that is needed grows as the length n, and
that of a backend that computes every pair, or looks at every pair of a mask, as n². Backends that take too long, or
too much memory, stop at a shorter length. What is made once for a mask, as the mask that SDPA reads and the lists of
blocks, is not timed with the rest. Peak memory is that of a process of its own, in which the mask is made, too, less
that of one that only holds the inputs; the compiler of FlexAttention would count there, so it is not measured. All
takes some two minutes on two cores.
"""

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks import harness
from llmlib.attention import attention, dispatch, masks

# The longest sequence for each backend, forward, and forward and backward.
LONGEST = {
    "reference": (4096, 2048),
    "tiled": (4096, 2048),
    "sdpa": (8192, 8192),
    "flex": (4096, 0),  # each length is compiled anew, for some twenty seconds
    "block_sparse": (32768, 32768),
}
BACKENDS = [name for name in LONGEST if name in dispatch._BACKENDS]
# Those whose memory is measured; each measurement takes the start of a process.
MEASURED = ({"reference", "tiled", "sdpa", "block_sparse"}, {"block_sparse"})
PASSES = ("forward", "forward and backward")
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def inputs(n: int, heads: int, width: int, gradients: bool) -> Inputs:
    """Queries, keys and values of one sequence."""
    torch.manual_seed(n)
    q, k, v = (torch.randn(1, heads, n, width, requires_grad=gradients) for _ in range(3))
    return q, k, v


def prepare(backend: str, mask: masks.Mask, n: int) -> torch.Tensor | None:
    """What is made once for a mask and a length, and not timed: SDPA's mask. The block lists are kept anyway."""
    return mask.dense(n) if backend == "sdpa" else None


def attend(backend: str, qkv: Inputs, mask: masks.Mask, prepared: torch.Tensor | None) -> list[torch.Tensor]:
    """The output, and the gradients if they are wanted."""
    if backend == "sdpa":
        out = F.scaled_dot_product_attention(*qkv, attn_mask=prepared)
    else:
        out = attention(*qkv, mask=mask, backend=backend)
    if not out.requires_grad:
        return [out]
    return [out.detach(), *torch.autograd.grad(out, qkv, torch.ones_like(out))]


def run_once(backend: str | None, n: int, heads: int, width: int, window: int, gradients: bool) -> None:
    """What a process of its own does, to have its memory measured; without a backend it only makes the inputs."""
    qkv = inputs(n, heads, width, gradients)
    if backend:
        attend(backend, qkv, sliding(window), prepare(backend, sliding(window), n))


def sliding(window: int) -> masks.Mask:
    """A query sees itself and those before it, ``window`` in all."""
    return masks.causal() & masks.window(window - 1)


def check(name: str, answer: list[torch.Tensor], qkv: Inputs, mask: masks.Mask) -> None:
    """Compare an output with the formula in double precision, for some of the queries.

    Raises:
        RuntimeError: They differ by more than single precision explains.
    """
    n = qkv[0].shape[2]
    some = torch.linspace(0, n - 1, 64).long()
    q, k, v = (x.detach().double() for x in qkv)
    zero = torch.zeros((), dtype=torch.long)
    scores = (q[:, :, some] @ k.mT / math.sqrt(q.shape[-1])).masked_fill(
        ~mask.mask_mod(zero, zero, some[:, None], torch.arange(n)), -math.inf
    )
    error = (answer[0][:, :, some] - scores.softmax(-1) @ v).abs().max()
    if not error < 1e-5:
        raise RuntimeError(f"{name} at n = {n} is off by {error:.1e}")


def measure(options: argparse.Namespace, mask: masks.Mask) -> list[dict[str, Any]]:
    """Time and memory of each backend at each length, forward, and forward and backward."""
    results = []
    for n in options.lengths:
        for number, passes in enumerate(PASSES):
            names = [name for name in options.backends if n <= LONGEST[name][number]]
            if not names:
                continue
            qkv = inputs(n, options.heads, options.width, gradients=number == 1)
            for name in names:  # also compiles, and makes the block lists
                check(name, attend(name, qkv, mask, prepare(name, mask, n)), qkv, mask)
            contestants = {name: contestant(name, qkv, mask) for name in names}
            timings = harness.take_turns(contestants, options.rounds)
            shape = (n, options.heads, options.width, options.window, number == 1)
            measured = options.memory and not MEASURED[number].isdisjoint(names)
            alone = harness.peak_memory(run_once, None, *shape) if measured else None
            for name, timing in timings.items():
                memory = None
                if alone is not None and name in MEASURED[number]:
                    memory = round(harness.peak_memory(run_once, name, *shape) - alone, 1)
                seconds = [round(each, 5) for each in timing.seconds]
                results.append(
                    {"n": n, "passes": passes, "backend": name, "seconds": seconds, "memory_mib": memory}
                )
            print(f"{n}, {passes}", end=" \r", file=sys.stderr)
    return results


def contestant(name: str, qkv: Inputs, mask: masks.Mask) -> Callable[[], Callable[[], Any]]:
    """A backend, ready for its turn."""

    def ready() -> Callable[[], Any]:
        prepared = prepare(name, mask, qkv[0].shape[2])
        return lambda: attend(name, qkv, mask, prepared)

    return ready


def lists_seconds(lengths: list[int], window: int) -> dict[int, float]:
    """How long it takes to find the blocks of the mask, which is done once for a mask and a length."""
    seconds = {}
    for n in lengths:
        start = time.perf_counter()
        sliding(window).blocks(n)
        seconds[n] = round(time.perf_counter() - start, 4)
    return seconds


def exponent(results: list[dict[str, Any]], passes: str, backend: str, what: str) -> float | None:
    """The slope of log time, or log memory, against log n: 1 for linear growth, 2 for quadratic."""
    points = [
        (math.log(r["n"]), math.log(value))
        for r in results
        if (r["passes"], r["backend"]) == (passes, backend)
        and (value := statistics.median(r["seconds"]) if what == "seconds" else r["memory_mib"] or 0) > 0
    ]
    if len(points) < 2:
        return None
    return round(statistics.linear_regression(*zip(*points, strict=True)).slope, 3)


def table(results: list[dict[str, Any]], passes: str, options: argparse.Namespace) -> None:
    found = {(r["backend"], r["n"]): r for r in results if r["passes"] == passes}
    names = [name for name in options.backends if any(backend == name for backend, _ in found)]

    def seconds(name: str, n: int) -> str:
        run = found.get((name, n))
        return f"{1000 * statistics.median(run['seconds']):.1f}" if run else "–"

    def memory(name: str, n: int) -> str:
        run = found.get((name, n))
        return f"{run['memory_mib']:.0f}" if run and run["memory_mib"] is not None else "–"

    def slope(name: str, what: str) -> str:
        value = exponent(results, passes, name, what)
        return f"{value:.2f}" if value is not None else "–"

    header = ["n", *(f"{n:,}" for n in options.lengths), "exponent"]
    for title, cell, what in (
        ("Time in ms", seconds, "seconds"),
        ("Extra memory in MiB", memory, "memory_mib"),
    ):
        rows = [[name, *(cell(name, n) for n in options.lengths), slope(name, what)] for name in names]
        harness.print_table(f"{title}, {passes}", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lengths",
        nargs="+",
        type=int,
        default=[2048, 4096, 8192, 16384, 32768],
        help="default: %(default)s",
    )
    parser.add_argument(
        "--window", type=int, default=256, help="keys that a query sees (default: %(default)s)"
    )
    parser.add_argument("--heads", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=64, help="of a head (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--backends", nargs="+", default=BACKENDS, choices=BACKENDS, help="default: all")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="measure the time only")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lists = lists_seconds(options.lengths, options.window)
    results = measure(options, sliding(options.window))
    for passes in PASSES:
        table(results, passes, options)
    print("\nFinding the blocks, once for each mask and length, in ms:")
    print("  ".join(f"{n:,}: {1000 * seconds:.0f}" for n, seconds in lists.items()))
    if options.json:
        names = ("lengths", "window", "heads", "width", "rounds", "threads")
        harness.write_record(
            options.json,
            {
                "environment": harness.environment(["torch", "numpy"]),
                "device": "cpu",
                "settings": {name: getattr(options, name) for name in names}
                | {"dtype": "float32", "block": 64},
                "exponents": {
                    f"{backend}, {passes}": {
                        what: exponent(results, passes, backend, what) for what in ("seconds", "memory_mib")
                    }
                    for passes in PASSES
                    for backend in options.backends
                },
                "block_lists_seconds": lists,
                "runs": results,
            },
        )


if __name__ == "__main__":
    main()
