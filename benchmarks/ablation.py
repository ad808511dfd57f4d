"""What is each of LLaMA's changes worth? Models of one size learn the same batches, with one change taken back in each.

    python -m benchmarks.ablation [--json PATH]

The first is a small LLaMA: RMSNorm, SwiGLU, rotary positions. Each of the others has one thing of the older models:
layer normalisation; a plain feed-forward layer of equally many parameters with ReLU or GELU; learned or sinusoidal
positions. The last one has all of GPT-2's. Runs of one seed read the same rows in the same order, so that they can be
compared seed by seed. All takes some ten minutes on one core for each learning rate.
"""

import argparse
import itertools
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness
from llmlib import corpora
from llmlib.models import LlamaConfig, LlamaVariant
from llmlib.tokenizers import BPETokenizer
from llmlib.training import Blocks, TrainConfig, train

VARIANTS: dict[str, dict[str, str]] = {
    "LLaMA": {},
    "LayerNorm": {"norm": "layer"},
    "ReLU": {"feed_forward": "relu"},
    "GELU": {"feed_forward": "gelu"},
    "learned": {"positions": "learned"},
    "sinusoidal": {"positions": "sinusoidal"},
    "GPT-2": {"norm": "layer", "feed_forward": "gelu", "positions": "learned"},
}
VOCABULARY = 1024
CONTEXT = 128
END = "<|endoftext|>"


def data() -> Blocks:
    """The corpus in tokens, as rows of T + 1; the rows held out are of other documents."""
    corpus = corpora.load("python-docs")
    tokenizer = BPETokenizer.train(corpus.train, VOCABULARY, special_tokens=[END])
    end = tokenizer.special_tokens[END]
    parts = (corpus.train, corpus.validation)
    return Blocks(
        *(corpora.pack([tokenizer.encode(text) for text in part], CONTEXT + 1, end)[0] for part in parts)
    )


def build(variant: str, seed: int, options: argparse.Namespace) -> LlamaVariant:
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
    return LlamaVariant(config, **VARIANTS[variant])


def run(blocks: Blocks, variant: str, rate: float, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one model: its size, and its loss on the rows held out."""
    model = build(variant, seed, options)
    config = TrainConfig(
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=rate,
        adamw_learning_rate=rate / 2,
        precision="float32",
        seed=seed,
    )
    history = train(model, blocks, config, progress=False)
    return {
        "variant": variant,
        "learning_rate": rate,
        "seed": seed,
        "parameters": model.num_parameters(),
        "held_out": round(history.evaluations[-1].loss, 4),
    }


def spread(runs: list[dict[str, Any]], variant: str, rate: float) -> str:
    """The mean over the seeds of the held-out loss, and its standard deviation."""
    found = [run["held_out"] for run in runs if (run["variant"], run["learning_rate"]) == (variant, rate)]
    deviation = f" ± {statistics.stdev(found):.3f}" if len(found) > 1 else ""
    return f"{statistics.mean(found):.3f}{deviation}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=96, help="default: %(default)s")
    parser.add_argument("--heads", type=int, default=4, help="default: %(default)s")
    parser.add_argument("--steps", type=int, default=200, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=8, help="default: %(default)s")
    parser.add_argument(
        "--rates", nargs="+", type=float, default=[0.03], help="of Muon; AdamW has half of it"
    )
    parser.add_argument("--seeds", type=int, default=4, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the runs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    blocks = data()
    kinds = list(itertools.product(options.rates, range(options.seeds), VARIANTS))
    runs = []
    for number, (rate, seed, variant) in enumerate(kinds, start=1):
        runs.append(run(blocks, variant, rate, seed, options))
        print(f"{number} of {len(kinds)}", end="\r", file=sys.stderr)

    harness.print_table(
        f"Held-out loss in nats a token after {options.steps} steps, mean and deviation of {options.seeds} seeds",
        ["learning rate", *VARIANTS],
        [[f"{rate:g}", *(spread(runs, variant, rate) for variant in VARIANTS)] for rate in options.rates],
    )
    if options.json:
        names = ("layers", "width", "heads", "steps", "batch_size", "rates", "seeds", "threads")
        settings = {name: getattr(options, name) for name in names}
        record = {
            "environment": harness.environment(["torch", "numpy"]),
            "device": "cpu",
            "settings": settings | {"context": CONTEXT, "vocabulary": VOCABULARY, "optimizer": "muon"},
            "variants": VARIANTS,
            "runs": runs,
        }
        harness.write_record(options.json, record)


if __name__ == "__main__":
    main()
