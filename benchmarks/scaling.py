r"""A sweep for the scaling laws of Chapter 9: small LLaMAs of many sizes, each at several budgets of FLOPs.

    python -m benchmarks.scaling --json benchmarks/results/scaling.json

makes the runs of RECORDED, about an hour on one core. A run that ends is in the record at once, and a run that is in
the record is not made again: the command goes on where it was stopped. Without ``--json`` it prints a small sweep of
half a minute. ``--budgets`` and ``--sizes`` choose other runs, every size at every budget, and add them to the same
record; several commands may do so at once if they were given different runs. On a GPU, for which this was written but
on which it has not been tried, a larger sweep would be

    python -m benchmarks.scaling --json benchmarks/results/scaling.json --device cuda \
        --budgets 2.4e13 --sizes 96x4 128x4 128x6 192x6 256x8

The models learn the bytes of the embedded corpus. A budget counts every matrix product of forward and backward pass
(:func:`llmlib.scaling.flops.training_flops`). A run must be of at least MIN_STEPS steps and at most MAX_EPOCHS passes
over the text: beyond four, text that is read again is worth less and less (Muennighoff et al. 2023, arXiv:2305.16264).
So a small model cannot have a large budget, and budgets above some 3e14 need a larger text. All runs have the same
batch and the same peak learning rates, the best of a few pairs that were tried at the widths 32 and 64. The learning
rate falls to zero at the end of each run, as Hoffmann et al. 2022 (arXiv:2203.15556, appendix B) ask for.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch

from benchmarks import harness
from llmlib import corpora, runtime
from llmlib.models import Llama, LlamaConfig
from llmlib.scaling.flops import Shape
from llmlib.training import Blocks, History, TrainConfig, train

CONTEXT = 128
BATCH_SIZE = 4
VOCAB_SIZE = 256
HELD_OUT = 256  # rows
MIN_STEPS = 100
MAX_EPOCHS = 4
CURVE_POINTS = 24  # in the record of a run
LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 0.04

Size = tuple[int, int]  # width and layers


def size(text: str) -> Size:
    """A size that is written as width x layers: "16x2"."""
    width, layers = map(int, text.split("x"))
    return width, layers


def sizes(text: str) -> list[Size]:
    """Sizes with spaces between them."""
    return [size(each) for each in text.split()]


# For each budget in FLOPs the sizes around the best, from 2,000 parameters outside the embeddings to 6 millions.
RECORDED = {
    3e10: sizes("8x2 16x1 16x2 24x2 32x2 32x3"),
    6e10: sizes("8x2 16x1 16x2 24x2 32x2"),
    1.2e11: sizes("16x2 24x2 32x2 32x3"),
    2.5e11: sizes("16x2 24x2 32x2 32x3 40x3"),
    5e11: sizes("24x2 32x2 40x3 48x3 64x3"),
    1e12: sizes("32x2 40x3 48x3 64x3 80x4"),
    3e12: sizes("48x3 64x3 80x4 96x4 128x6"),
    9e12: sizes("64x3 80x4 96x4 128x4 192x6 256x8"),
}
SMALL = {3e10: RECORDED[3e10]}


def config_of(width: int, layers: int) -> LlamaConfig:
    """A LLaMA with heads of 8 numbers or, from width 64, 16; its first weights as large as GPT-2's, for its width."""
    head_width = 8 if width < 64 else 16
    return LlamaConfig(
        vocab_size=VOCAB_SIZE,
        context=CONTEXT,
        width=width,
        layers=layers,
        heads=width // head_width,
        init_std=0.02 * math.sqrt(768 / width),
    )


@cache
def data() -> Blocks:
    """The corpus as rows of T + 1 bytes; the rows held out are from other documents, spread over all of them."""
    corpus = corpora.load("python-docs")
    training, held_out = (
        np.frombuffer("\0".join(documents).encode(), np.uint8)
        for documents in (corpus.train, corpus.validation)
    )
    rows = cut(held_out)
    return Blocks(cut(training), rows[np.linspace(0, len(rows) - 1, HELD_OUT).astype(int)])


def cut(text: np.ndarray) -> np.ndarray:
    """Rows of T + 1 bytes, one after the other."""
    return text[: len(text) // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1)


def steps_of(config: LlamaConfig, flops: float) -> int:
    """How many steps a budget pays for."""
    return round(flops / (Shape.of(config).flops(CONTEXT).training * BATCH_SIZE * CONTEXT))


def plan(sweep: dict[float, list[Size]], seeds: int) -> Iterator[tuple[float, int, int, int]]:
    """Budget, width, layers and seed of every run, the cheapest first.

    Raises:
        ValueError: A run would be too short, or read the text too often.
    """
    most = MAX_EPOCHS * len(data().train) // BATCH_SIZE
    for flops in sorted(sweep):
        for seed, (width, layers) in itertools.product(range(seeds), sweep[flops]):
            steps = steps_of(config_of(width, layers), flops)
            if not MIN_STEPS <= steps <= most:
                raise ValueError(
                    f"{flops:g} FLOPs pay {steps:,} steps of the size {width}x{layers}, and a run has from {MIN_STEPS} "
                    f"to {most:,} ({MAX_EPOCHS} passes over the text): leave it out."
                )
            yield flops, width, layers, seed


def run(flops: float, width: int, layers: int, seed: int, device: str) -> dict[str, Any]:
    """Train one model with a budget.

    Returns:
        What the record holds of a run: sizes N, tokens D, FLOPs C, its loss held out in nats a byte, and its curve.
    """
    config = config_of(width, layers)
    torch.manual_seed(seed)
    model = Llama(config).to(device)
    training = TrainConfig(
        steps=steps_of(config, flops),
        batch_size=BATCH_SIZE,
        learning_rate=LEARNING_RATE,
        adamw_learning_rate=ADAMW_LEARNING_RATE,
        precision="float32",
        seed=seed,
    )
    history = train(model, data(), training, progress=False)
    tokens = len(history.steps) * BATCH_SIZE * CONTEXT
    return {
        "budget": flops,
        "width": width,
        "layers": layers,
        "heads": config.heads,
        "hidden": config.hidden,
        "seed": seed,
        "N": model.num_parameters(embeddings=False),
        "N_total": model.num_parameters(),
        "D": tokens,
        "C": Shape.of(config).flops(CONTEXT).training * tokens,
        "epochs": round(tokens / (len(data().train) * CONTEXT), 4),
        "loss": round(history.evaluations[-1].loss, 5),
        "curve": curve(history),
        "seconds": round(history.seconds, 1),
    }


def curve(history: History) -> dict[str, list[float]]:
    """The training loss at points spread evenly over the logarithm of the tokens, each the mean since the last."""
    losses = np.array([step.loss for step in history.steps])
    ends = np.unique(np.geomspace(5, len(losses), CURVE_POINTS).round().astype(int))
    starts = np.concatenate([[0], ends[:-1]])
    means = [losses[start:end].mean() for start, end in zip(starts, ends, strict=True)]
    return {
        "D": [int(end) * BATCH_SIZE * CONTEXT for end in ends],
        "loss": [round(float(loss), 4) for loss in means],
    }


def settings() -> dict[str, Any]:
    """What all runs of one record have in common."""
    names = ("CONTEXT", "BATCH_SIZE", "VOCAB_SIZE", "HELD_OUT", "LEARNING_RATE", "ADAMW_LEARNING_RATE")
    return {"corpus": repr(corpora.load("python-docs")), **{name.lower(): globals()[name] for name in names}}


def key(run: dict[str, Any]) -> tuple[float, int, int, int]:
    """What tells the runs of a record apart."""
    return run["budget"], run["width"], run["layers"], run["seed"]


def read(path: Path | None) -> dict[str, Any]:
    """The record so far.

    Raises:
        ValueError: Its runs were made with other settings or another text.
    """
    if path is None or not path.exists():
        return {"settings": settings(), "runs": []}
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["settings"] != settings():
        raise ValueError(
            f"The runs of {path} have other settings, {record['settings']}, than these would have, {settings()}: "
            "losses would not compare. Write to another file."
        )
    return record


def made(path: Path | None) -> set[tuple[float, int, int, int]]:
    """The runs that are in the record."""
    return {key(run) for run in read(path)["runs"]}


def append(path: Path, run: dict[str, Any]) -> None:
    """Add a run to the record, whole or not at all, also while another process does so."""
    with filelock.FileLock(f"{path}.lock"):
        record = read(path)
        record["runs"] = sorted([*record["runs"], run], key=key)
        harness.write_record(path, record)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--budgets", nargs="+", type=float, help="FLOPs of a run (default: those of RECORDED)"
    )
    parser.add_argument(
        "--sizes", nargs="+", type=size, metavar="WxL", help="widths and layers (default: by budget)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--device", default=str(runtime.device()), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="the record to extend")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    environment = harness.environment(["torch", "numpy"])
    machine = {
        "date": environment["date"][:10],
        "machine": environment.get("gpu") if options.device != "cpu" else environment["cpu"],
        "threads": options.threads,
        "torch": environment["versions"]["torch"],
    }

    default = RECORDED if options.json else SMALL
    budgets = options.budgets or list(default)
    if not options.sizes and not default.keys() >= set(budgets):
        known = ", ".join(f"{flops:g}" for flops in default)
        parser.error(f"give --sizes, too: there are sizes for the budgets {known} only")
    sweep = {flops: options.sizes or default[flops] for flops in budgets}
    done = made(options.json)
    todo = [kind for kind in plan(sweep, options.seeds) if kind not in done]
    print(f"{'budget':>8}{'N':>10}{'D':>12}{'D/N':>8}{'epochs':>8}{'seconds':>9}{'nats/byte':>11}")
    for number, kind in enumerate(todo, start=1):
        if kind in made(options.json):  # by another command meanwhile
            continue
        result = run(*kind, options.device)
        print(
            f"{result['budget']:>8.0e}{result['N']:>10,}{result['D']:>12,}{result['D'] / result['N']:>8.1f}"
            f"{result['epochs']:>8.2f}{result['seconds']:>9.1f}{result['loss']:>11.4f}",
            flush=True,
        )
        print(f"{number} of {len(todo)}", end="\r", file=sys.stderr)
        if options.json:
            append(options.json, {**result, **machine})


if __name__ == "__main__":
    main()
