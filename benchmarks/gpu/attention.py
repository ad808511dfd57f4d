"""FlashAttention in Triton beside each backend of PyTorch's SDPA and compiled FlexAttention: TFLOP/s, both ways.

    python -m benchmarks.gpu.attention [--widths 64 128] [--lengths 2048 ...] [--tune] [--json PATH]

Products of matrices count, as in the literature: forward 4 · T · S · D for each head of each sequence, of which a mask
keeps its share, half of it if causal; forward and backward together 3.5 times that. Each length has the same
number of tokens. Last comes a causal window over a long sequence, beside FlexAttention with the same mask. A
contestant whose output or gradients are further from float32's than twice, or three times, those of the formula in
bfloat16 ends the benchmark. With --tune, llmlib first tries other tilings than its own and prints how fast they are.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import harness
from benchmarks.gpu.kernels import Clock
from llmlib import kernels
from llmlib.attention import Mask, attention, masks

DEVICE = "cuda"
CHANNELS = 2048  # H · D
TOKENS = 16_384  # B · T
WINDOW, LONG = 1024, 16_384
OURS, FLEX = "llmlib", "FlexAttention"
SDPA = {
    "SDPA flash": SDPBackend.FLASH_ATTENTION,
    "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION,
    "SDPA efficient": SDPBackend.EFFICIENT_ATTENTION,
}
HEADER = ["", "forward ms", "TFLOP/s", "both ms", "TFLOP/s", "llmlib times as fast: forward", "both"]
Function = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One problem: shapes, mask and how many pairs of a query and a key count in each head."""

    width: int
    length: int
    mask: Mask
    pairs: int
    title: str

    def inputs(self) -> list[Tensor]:
        """Queries, keys and values, (B, H, T, D)."""
        shape = max(1, TOKENS // self.length), CHANNELS // self.width, self.length, self.width
        generator = torch.Generator(DEVICE).manual_seed(0)
        return [
            torch.randn(shape, generator=generator, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
            for _ in range(3)
        ]

    def flops(self) -> float:
        """Of the forward pass."""
        return 4.0 * max(1, TOKENS // self.length) * CHANNELS * self.pairs


def dense_cases(widths: list[int], lengths: list[int]) -> Iterator[Case]:
    for width in widths:
        for causal in (True, False):
            for length in lengths:
                mask, pairs = (masks.causal(), length**2 // 2) if causal else (masks.full(), length**2)
                yield Case(width, length, mask, pairs, f"{'causal' if causal else 'full'}, D = {width}")


def sparse_cases(widths: list[int]) -> Iterator[Case]:
    """A window of so many positions up to the query's own."""
    for width in widths:
        pairs = LONG * WINDOW - WINDOW * (WINDOW - 1) // 2
        mask = masks.causal() & masks.window(WINDOW - 1)
        yield Case(width, LONG, mask, pairs, f"window {WINDOW:,}, D = {width}")


def contestants(case: Case) -> dict[str, Function]:
    """What can compute the case, each as a function of q, k and v."""

    def sdpa(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=case.mask == masks.causal())

    functions: dict[str, Function] = {
        OURS: functools.partial(attention, mask=case.mask, backend="triton"),
        FLEX: functools.partial(attention, mask=case.mask, backend="flex"),
    }
    if case.mask in (masks.causal(), masks.full()):
        functions |= {name: functools.partial(sdpa, backend) for name, backend in SDPA.items()}
    return functions


def both_ways(function: Function, inputs: list[Tensor], gradient: Tensor) -> list[Tensor]:
    """The output and the gradients."""
    out = function(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, gradient)]


def check(case: Case, functions: dict[str, Function]) -> dict[str, Function]:
    """Those that serve, their answers checked on one head of a sequence short enough to have its scores in memory."""
    length = min(case.length, 4096)
    inputs = [x[:1, :2, :length].detach().requires_grad_() for x in case.inputs()]
    gradient = torch.randn_like(inputs[0])
    formula = functools.partial(attention, mask=case.mask, backend="reference")
    exact = both_ways(formula, [x.detach().float().requires_grad_() for x in inputs], gradient.float())
    peer = both_ways(formula, inputs, gradient)
    serving = {}
    for name, function in functions.items():
        try:
            found = both_ways(function, inputs, gradient)
        except RuntimeError as error:
            if name not in SDPA:
                raise
            print(f"{case.title}: {name} does not serve here: {str(error).splitlines()[0]}")
            continue
        for factor, mine, theirs, true in zip((2, 3, 3, 3), found, peer, exact, strict=True):
            error, bound = ((x - true).abs().max().item() for x in (mine, theirs))
            floor = torch.finfo(torch.bfloat16).eps * true.abs().max().item()
            if not error <= factor * bound + floor:
                raise SystemExit(
                    f"{case.title}, {name}: off by {error:.2g}, bfloat16's formula by {bound:.2g}."
                )
        serving[name] = function
    return serving


def take_turns(case: Case, functions: dict[str, Function], rounds: int) -> dict[str, list[harness.Timing]]:
    """The timings of the forward pass, and of forward and backward, of each in turn in each round."""
    clock, inputs = Clock(), case.inputs()
    gradient = torch.randn_like(inputs[0])
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in functions}
    names = list(functions)
    for number in range(-2, rounds):  # two to warm up
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with torch.no_grad():
                forward, _ = clock.seconds(lambda f=functions[name]: f(*inputs))
            both, _ = clock.seconds(lambda f=functions[name]: both_ways(f, inputs, gradient))
            if number >= 0:
                seconds[name][0].append(forward)
                seconds[name][1].append(both)
    return {name: [harness.Timing(times, None) for times in pair] for name, pair in seconds.items()}


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """The figures of a case, which are printed as a table."""
    torch.compiler.reset()  # after some compilations of one function, torch.compile would give up
    timings = take_turns(case, check(case, contestants(case)), rounds)
    flops = case.flops(), 3.5 * case.flops()
    figures = {
        name: {
            way: {
                "seconds": timing.median,
                "tflops": work / timing.median / 1e12,
                "llmlib_is_times_as_fast": timings[OURS][i].times_as_fast_as(timing),
            }
            for i, (way, timing, work) in enumerate(zip(("forward", "both"), pair, flops, strict=True))
        }
        for name, pair in timings.items()
    }
    harness.print_table(
        f"{case.title}: {case.length:,} tokens, {rounds} rounds",
        HEADER,
        [
            [
                name,
                *(
                    text
                    for way in ("forward", "both")
                    for text in (f"{figure[way]['seconds'] * 1e3:,.3f}", f"{figure[way]['tflops']:,.0f}")
                ),
                *(f"{figure[way]['llmlib_is_times_as_fast']:.2f}" for way in ("forward", "both")),
            ]
            for name, figure in figures.items()
        ],
    )
    return {
        "case": case.title,
        "width": case.width,
        "length": case.length,
        "mask": str(case.mask),
        "figures": figures,
    }


def tune(widths: list[int], rounds: int) -> None:
    """Try other tilings of each kernel at the causal case of 4,096 tokens, and print how fast they are."""
    from importlib import import_module

    module = import_module("llmlib.kernels.flash_attention")

    @contextmanager
    def tiled(key: int, number: int, tiles: Any) -> Iterator[None]:
        own = module.HALF_PRECISION[key]
        module.HALF_PRECISION[key] = (*own[:number], tiles, *own[number + 1 :])
        try:
            yield
        finally:
            module.HALF_PRECISION[key] = own

    for width in widths:
        key = next(key for key in module.HALF_PRECISION if key >= width)
        case = Case(width, 4096, masks.causal(), 4096**2 // 2, f"D = {width}")
        ours = {OURS: contestants(case)[OURS]}
        for number, kernel in enumerate(("forward", "dQ", "dK and dV")):
            rows = []
            candidates = [
                module.Tiles(q, k, warps, stages)
                for q in (64, 128)
                for k in (64, 128)
                for warps in (4, 8)
                for stages in (2, 3, 4)
            ]
            for tiles in dict.fromkeys([module.HALF_PRECISION[key][number], *candidates]):
                with tiled(key, number, tiles):
                    try:
                        pair = take_turns(case, check(case, ours), rounds)[OURS]
                    except Exception as error:  # too much shared memory, as a rule
                        rows.append([str(tuple(tiles)), type(error).__name__, ""])
                    else:
                        rows.append([str(tuple(tiles)), *(f"{timing.median * 1e3:.3f}" for timing in pair)])
            title = f"Tilings of {kernel}, {case.title}: queries, keys, warps, stages; llmlib's own first"
            harness.print_table(title, ["", "forward ms", "both ms"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", nargs="+", type=int, default=[64, 128], help="head widths (%(default)s)")
    lengths = [2048, 4096, 8192, 16_384]
    parser.add_argument("--lengths", nargs="+", type=int, default=lengths, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="timings of each (%(default)s)")
    parser.add_argument("--tune", action="store_true", help="try other tilings first; takes long")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    if not kernels.available():
        raise SystemExit(
            "This benchmark needs a CUDA device and Triton: make gpu, on a machine that has them."
        )
    if options.tune:
        tune(options.widths, options.rounds)
    results = []
    for case in (*dense_cases(options.widths, options.lengths), *sparse_cases(options.widths)):
        results.append(measure(case, options.rounds))
        torch.cuda.empty_cache()
    if options.json:
        record = harness.environment(["torch", "triton"])
        settings = {"tokens": TOKENS, "channels": CHANNELS, "rounds": options.rounds, "dtype": "bfloat16"}
        harness.write_record(options.json, {**record, **settings, "results": results})


if __name__ == "__main__":
    main()
