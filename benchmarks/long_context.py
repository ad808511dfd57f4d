"""Train short, test long: models that differ in their positions alone learn from rows of 64 tokens and read 1,024.

    python -m benchmarks.long_context [--json PATH]

First, five models learn the same rows in the same order: with no positions, learned and sinusoidal ones, RoPE and
ALiBi. Each reads held-out text in rows 16 times as long (learned positions cannot), and, to compare, the same text in
windows of the training length. Then the RoPE model reads rows four times as long under each rule of scaling, without
and with a little more training on such rows. Losses are means over ranges of positions, in nats a token. All takes
some seven minutes on one core.
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import harness
from llmlib import corpora
from llmlib.layers import LinearScaling, Llama3Scaling, YarnScaling, ntk_base
from llmlib.models import LlamaConfig, LlamaVariant
from llmlib.tokenizers import BPETokenizer
from llmlib.training import TrainConfig, loss_by_position, train
from llmlib.training.scoring import log_probabilities

POSITIONS = ("none", "learned", "sinusoidal", "rope", "alibi")
VOCABULARY = 512
CONTEXT = 64
FACTOR = 4
LONGEST = 16 * CONTEXT
EDGES = (0, 16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
RULES: dict[str, dict[str, Any]] = {
    "as trained": {},
    "interpolation": {"scaling": LinearScaling(FACTOR)},
    "NTK-aware": {"base": FACTOR},  # of the head width, too: see `rescaled`
    "YaRN": {"scaling": YarnScaling(FACTOR, CONTEXT)},
    "llama3": {"scaling": Llama3Scaling(FACTOR, CONTEXT)},
}
END = "<|endoftext|>"


def tokens() -> tuple[np.ndarray, np.ndarray]:
    """The corpus as two streams of token ids: to learn from, and held out (other documents)."""
    corpus = corpora.load("python-docs")
    tokenizer = BPETokenizer.train(corpus.train, VOCABULARY, special_tokens=[END])
    end = [tokenizer.special_tokens[END]]
    train_ids, held_out = (
        np.concatenate([tokenizer.encode(text) + end for text in part])
        for part in (corpus.train, corpus.validation)
    )
    return train_ids, held_out


def rows_of(ids: np.ndarray, length: int, step: int | None = None) -> np.ndarray:
    """Rows of length + 1 tokens that begin every ``step`` tokens, by default side by side."""
    return np.lib.stride_tricks.sliding_window_view(ids, length + 1)[:: step or length + 1].copy()


def fit(model: LlamaVariant, rows: np.ndarray, steps: int, rate: float, seed: int) -> None:
    """Train on steps of 1,024 tokens."""
    config = TrainConfig(
        steps=steps,
        batch_size=16 * CONTEXT // (rows.shape[1] - 1),
        learning_rate=rate,
        adamw_learning_rate=rate / 2,
        precision="float32",
        seed=seed,
    )
    train(model, rows, config, progress=False)


def build(positions: str, seed: int, options: argparse.Namespace) -> LlamaVariant:
    """A model with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        context=CONTEXT,
        width=options.width,
        layers=options.layers,
        heads=options.heads,
        tied=True,
    )
    return LlamaVariant(config, positions=positions)


def rescaled(model: LlamaVariant, rule: str) -> LlamaVariant:
    """A copy of the model under a rule."""
    changes = dict(RULES[rule])
    if "base" in changes:
        changes["base"] = ntk_base(model.config.rope_base, FACTOR, model.rotary.head_width)
    return model.with_rope(**changes)


def in_windows(model: LlamaVariant, rows: np.ndarray) -> Tensor:
    """The loss of each token, read in windows of the training length, from at least half of one."""
    return -torch.stack(log_probabilities(model, rows.tolist(), stride=CONTEXT // 2, batch_size=64))


def by_range(losses: Tensor) -> list[float]:
    """The mean loss in each range of positions that the rows have."""
    ranges = [(a, b) for a, b in itertools.pairwise(EDGES) if b <= losses.shape[1]]
    return [round(losses[:, a:b].mean().item(), 4) for a, b in ranges]


def read(model: LlamaVariant, positions: str, rows: np.ndarray) -> dict[str, list[float]]:
    """Its losses in one pass over each row and in windows."""
    seen = rows[:, : CONTEXT + 1] if positions == "learned" else rows
    return {
        "in_one": by_range(loss_by_position(model, seen)),
        "in_windows": by_range(in_windows(model, rows)),
    }


def beyond(losses: list[float]) -> float:
    """The mean loss from the training length on."""
    sizes = [b - a for a, b in itertools.pairwise(EDGES)]
    after = [(loss, size) for loss, size, a in zip(losses, sizes, EDGES, strict=False) if a >= CONTEXT]
    return sum(loss * size for loss, size in after) / sum(size for _, size in after)


def spread(values: list[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{deviation}"


def show(runs: list[dict[str, Any]], scaled: list[dict[str, Any]]) -> None:
    rows = []
    for positions in POSITIONS:
        mine = [run for run in runs if run["positions"] == positions]
        one = "–" if positions == "learned" else spread([beyond(run["in_one"]) for run in mine])
        rows.append([positions, one, spread([beyond(run["in_windows"]) for run in mine])])
    harness.print_table(
        f"Loss at positions {CONTEXT} … {LONGEST}, trained on {CONTEXT}", ["", "in one", "in windows"], rows
    )
    rows = []
    for rule in RULES:
        mine = [run for run in scaled if run["rule"] == rule]
        rows.append([rule, *(spread([beyond(run[kind]) for run in mine]) for kind in ("untuned", "tuned"))])
    harness.print_table(f"RoPE at positions {CONTEXT} … {FACTOR * CONTEXT}", ["", "as it is", "tuned"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=96, help="default: %(default)s")
    parser.add_argument("--heads", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--tuning-steps", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--rate", type=float, default=0.02, help="of Muon; AdamW has half of it")
    parser.add_argument("--tuning-rate", type=float, default=0.008, help="likewise")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the runs, anew after each seed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    learn, held_out = tokens()
    short, medium = rows_of(learn, CONTEXT), rows_of(learn, FACTOR * CONTEXT)
    long_test = rows_of(held_out, LONGEST, LONGEST // 2)
    medium_test = rows_of(held_out, FACTOR * CONTEXT)
    runs: list[dict[str, Any]] = []
    scaled: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for positions in POSITIONS:
            model = build(positions, seed, options)
            fit(model, short, options.steps, options.rate, seed)
            runs.append({"positions": positions, "seed": seed, **read(model, positions, long_test)})
            print(f"seed {seed}: {positions}", file=sys.stderr)
            if positions == "rope":
                trained = model
        windows = by_range(in_windows(trained, medium_test))
        for rule in RULES:
            model = rescaled(trained, rule)
            untuned = by_range(loss_by_position(model, medium_test))
            fit(model, medium, options.tuning_steps, options.tuning_rate, seed)
            tuned = by_range(loss_by_position(model, medium_test))
            print(f"seed {seed}: {rule}", file=sys.stderr)
            scaled.append(
                {"rule": rule, "seed": seed, "untuned": untuned, "tuned": tuned, "in_windows": windows}
            )
        if options.json:
            record(options, runs, scaled)
    show(runs, scaled)


def record(options: argparse.Namespace, runs: list[dict[str, Any]], scaled: list[dict[str, Any]]) -> None:
    settings = {name: value for name, value in vars(options).items() if name != "json"}
    settings |= {"context": CONTEXT, "factor": FACTOR, "vocabulary": VOCABULARY, "optimizer": "muon"}
    document = {
        "environment": harness.environment(["torch", "numpy"]),
        "device": "cpu",
        "settings": settings,
        "edges": list(EDGES),
        "positions": runs,
        "scaling": scaled,
    }
    harness.write_record(options.json, document)


if __name__ == "__main__":
    main()
