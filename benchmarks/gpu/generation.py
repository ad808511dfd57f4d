"""Text from a Llama of a billion parameters on a GPU, one text at a time: the share of the memory bandwidth in use.

    python -m benchmarks.gpu.generation [--json PATH]

A token needs every weight once, and the keys and values of the text so far: the time to read them from memory is the
limit. How fast the memory is, is measured beside it, as a copy of 1 GiB. The step runs as it is, as a CUDA graph, and
compiled and as a graph. The graph must write what the step as it is writes, or the benchmark fails; compiled code
rounds elsewhere, so its text may part from theirs, and the table says after how many tokens.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import harness
from llmlib.generation import Sampler, cache_bytes, generate
from llmlib.models import Llama, LlamaConfig

# 1.2 billion parameters, with tied token vectors.
SHAPE = LlamaConfig(
    vocab_size=128_256,
    context=4096,
    width=2048,
    layers=16,
    heads=32,
    kv_heads=8,
    hidden=8192,
    tied=True,
    rope_base=500_000.0,
    init_std=0.05,
)
WAYS: dict[str, dict[str, bool]] = {
    "as it is": {},
    "CUDA graph": {"graph": True},
    "compiled, CUDA graph": {"compile": True, "graph": True},
}
GREEDY = Sampler(temperature=0)


def write(model: Llama, ids: Tensor, tokens: int, options: dict[str, bool]) -> Tensor:
    """The greedy continuation, when the device is done with it."""
    text = generate(model, ids, tokens, sampler=GREEDY, **options)
    torch.cuda.synchronize()
    return text


def copy_bandwidth(rounds: int) -> float:
    """Bytes a second that a large copy reads and writes."""
    source, target = (torch.empty(2**30, device="cuda", dtype=torch.uint8) for _ in range(2))

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    harness.take_turns({"": lambda: copy}, 3)
    return 2 * source.numel() / harness.take_turns({"": lambda: copy}, rounds)[""].median


def bytes_of_a_token(model: Llama, length: int) -> float:
    """What must be read for a token: every weight once (tied token vectors are the output's), and the cache."""
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return weights + cache_bytes(model.config, length=length, dtype=torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", type=int, default=64, help="tokens of the prompt (%(default)s)")
    parser.add_argument("--tokens", type=int, default=256, help="new tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="texts of each (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a CUDA device: make gpu, on a machine that has one.")
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Llama(SHAPE).to(torch.bfloat16).eval()
        ids = torch.randint(SHAPE.vocab_size, (1, options.prompt))

    def timings(tokens: int, rounds: int) -> dict[str, harness.Timing]:
        works: dict[str, Callable[[], Tensor]] = {
            name: partial(write, model, ids, tokens, way) for name, way in WAYS.items()
        }
        return harness.take_turns({name: (lambda work=work: work) for name, work in works.items()}, rounds)

    timings(options.tokens, 1)  # warm up, and compile
    # Reading the prompt and capturing the graph are in both, and cancel out.
    whole, half = timings(options.tokens, options.rounds), timings(options.tokens // 2, options.rounds)
    plain, replayed, _ = (timing.answer for timing in whole.values())
    if not torch.equal(plain, replayed):
        raise SystemExit("With a graph the model wrote another text, but must write the same.")
    bandwidth = copy_bandwidth(20)
    needed = bytes_of_a_token(model, options.prompt + options.tokens * 3 // 4)
    figures: dict[str, Any] = {}
    for name in WAYS:
        seconds = (whole[name].median - half[name].median) / (options.tokens - options.tokens // 2)
        figures[name] = {
            "tokens_per_second": 1 / seconds,
            "share_of_bandwidth": needed / seconds / bandwidth,
            "whole_text_seconds": whole[name].median,
            "same_tokens": int((whole[name].answer == plain).long().cumprod(dim=1).sum()) - options.prompt,
        }
    harness.print_table(
        f"{model.num_parameters():,} parameters, bfloat16, batch 1: {needed / 1e9:.2f} GB a token; a copy moves "
        f"{bandwidth / 1e12:.2f} TB/s",
        ["", "tokens/s", "of the bandwidth", "whole text, s", "same tokens"],
        [
            [
                name,
                f"{figure['tokens_per_second']:,.0f}",
                f"{figure['share_of_bandwidth']:.0%}",
                f"{figure['whole_text_seconds']:.2f}",
                f"{figure['same_tokens']}",
            ]
            for name, figure in figures.items()
        ],
    )
    if options.json:
        settings = {name: getattr(options, name) for name in ("prompt", "tokens", "rounds")}
        record = {**harness.environment(["torch"]), **settings, "copy_bytes_per_second": bandwidth}
        harness.write_record(options.json, {**record, "bytes_per_token": needed, "figures": figures})


if __name__ == "__main__":
    main()
