"""A training step of GPT beside Hugging Face's GPT2LMHeadModel: tokens per second and memory.

    python -m benchmarks.training [--threads 2] [--json PATH]
    python -m benchmarks.training --device cuda --bf16 [--compile]

Both have the same configuration, weights, batches of real text, loss and optimiser, and none has dropout. Their losses
must be the same, or the benchmark fails. On a GPU it also shows the share of what a large matrix product reaches.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
import transformers  # also for our own memory, so that both processes hold the same libraries
from torch import Tensor, nn

from benchmarks import harness
from llmlib import corpora
from llmlib.models import GPT, GPTConfig

# Shape and batch size of what Chapter 3 trains, of what a patient reader may, and of GPT-2 for a GPU.
CASES = {
    "chapter": (GPTConfig(vocab_size=2048, context=128, width=96, layers=2, heads=4), 16),
    "laptop": (GPTConfig(vocab_size=2048, context=256, width=256, layers=8, heads=8), 16),
    "gpu": (GPTConfig.preset("gpt2"), 16),
}
OURS, PEER = "llmlib GPT", "GPT2LMHeadModel"
HEADER = ["", "tokens/s", "from", "to", f"speed, {PEER} = 1", "MiB", "of matrix product"]
WARM_UP = 3  # steps, in which memory is first touched


class Trainee:
    """One of the two models, which learns a batch at a time."""

    def __init__(self, name: str, case: str, options: argparse.Namespace) -> None:
        config, self.batch_size = CASES[case]
        torch.manual_seed(0)
        torch.set_num_threads(options.threads)
        model: nn.Module = GPT(config)
        if name == PEER:
            model = hugging_face(model)
        self.options, self.context = options, config.context
        self.model = model.to(options.device).train()
        self.forward = torch.compile(self.model) if options.compile else self.model
        self.keywords = {"use_cache": False} if name == PEER else {}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        text = "\n".join(corpora.load("python-docs").train[:200]).encode()
        self.text = torch.from_numpy(np.frombuffer(text, np.uint8).astype(np.int64))
        self.generator = torch.Generator().manual_seed(0)
        self.losses: list[float] = []

    def next_batch(self) -> Tensor:
        """Rows of T + 1 bytes of the embedded corpus, the same for both."""
        starts = torch.randint(len(self.text) - self.context, (self.batch_size, 1), generator=self.generator)
        return self.text[starts + torch.arange(self.context + 1)].to(self.options.device)

    def learn(self, rows: Tensor) -> None:
        """Take a step; its loss is in nats a byte."""
        with torch.autocast(self.options.device, torch.bfloat16, enabled=self.options.bf16):
            out = self.forward(rows[:, :-1], **self.keywords)
            logits = out if isinstance(out, Tensor) else out.logits
            loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(loss.item())  # waits for the device

    def prepare(self) -> Callable[[], None]:
        """A step, with its batch ready."""
        rows = self.next_batch()
        return lambda: self.learn(rows)


def hugging_face(model: GPT) -> nn.Module:
    """GPT2LMHeadModel with the weights of a GPT."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return transformers.GPT2LMHeadModel.from_pretrained(folder)


def train_alone(name: str | None, case: str, options: argparse.Namespace) -> None:
    """What the process does whose memory is measured; None trains nothing, for what the libraries take."""
    if name is not None:
        trainee = Trainee(name, case, options)
        for _ in range(WARM_UP):
            trainee.learn(trainee.next_batch())


def memory(trainee: Trainee, name: str, case: str, idle: float) -> float:
    """MiB that training takes: on a CPU all beyond the libraries, on a GPU what a step adds to the weights."""
    if trainee.options.device == "cpu":
        return harness.peak_memory(train_alone, name, case, trainee.options) - idle
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    trainee.learn(trainee.next_batch())
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def flops_per_token(config: GPTConfig) -> float:
    """Of one training step: 6 N + 12 L C T (Chowdhery et al. 2022, arXiv:2204.02311, appendix B)."""
    with torch.device("meta"):
        n = GPT(config).num_parameters(embeddings=False) + config.vocab_size * config.width
    return 6 * n + 12 * config.layers * config.width * config.context


def flops_of_matrix_product(options: argparse.Namespace) -> float:
    """Floating-point operations a second in the product of two large square matrices on this device."""
    size = 8192 if options.device == "cuda" else 1024
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    matrix = torch.randn(size, size, device=options.device, dtype=dtype)

    def product() -> float:
        return (matrix @ matrix)[0, 0].item()

    return 2 * size**3 / harness.take_turns({"": lambda: product}, rounds=10)[""].median


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one case, which are printed as a table."""
    config, batch_size = CASES[case]
    tokens = batch_size * config.context
    trainees = {name: Trainee(name, case, options) for name in (OURS, PEER)}
    contestants = {name: trainee.prepare for name, trainee in trainees.items()}
    harness.take_turns(contestants, WARM_UP)
    timings = harness.take_turns(contestants, options.steps)
    ours, theirs = (trainee.losses for trainee in trainees.values())
    apart = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if apart > (0.05 if options.bf16 else 1e-3):
        raise SystemExit(f"The losses are up to {apart:.2g} nats apart, but must be the same.")

    idle = harness.peak_memory(train_alone, None, case, options) if options.device == "cpu" else 0.0
    product = flops_of_matrix_product(options)
    figures = {}
    for name, timing in timings.items():
        figures[name] = {
            "tokens_per_second": tokens / timing.median,
            "quartiles": [tokens / s for s in np.quantile(timing.seconds, [0.75, 0.25])],
            "relative_speed": timing.times_as_fast_as(timings[PEER]),
            "mib": memory(trainees[name], name, case, idle),
            "share_of_matrix_product": tokens / timing.median * flops_per_token(config) / product,
        }
    parameters = GPT(config).num_parameters()
    harness.print_table(
        f"{case}: {parameters:,} parameters, {options.steps} steps of {batch_size} × {config.context} tokens; "
        f"losses from {ours[0]:.3f} to {ours[-1]:.3f}, at most {apart:.1g} apart",
        HEADER,
        [
            [
                name,
                f"{figure['tokens_per_second']:,.0f}",
                *(f"{bound:,.0f}" for bound in figure["quartiles"]),
                f"{figure['relative_speed']:.2f}",
                f"{figure['mib']:,.0f}",
                f"{figure['share_of_matrix_product']:.0%}",
            ]
            for name, figure in figures.items()
        ],
    )
    return {"case": case, "parameters": parameters, "tokens_per_step": tokens, "figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, help="default: chapter laptop; on a GPU: gpu")
    parser.add_argument("--steps", type=int, default=20, help="steps of each that count (%(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile both models")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of the CPU (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    cases = options.cases or (["gpu"] if options.device == "cuda" else ["chapter", "laptop"])
    results = [measure(case, options) for case in cases]
    if options.json:
        settings = {
            name: getattr(options, name) for name in ("device", "bf16", "compile", "threads", "steps")
        }
        environment = harness.environment(["torch", "transformers"])
        harness.write_record(options.json, {**environment, **settings, "results": results})


if __name__ == "__main__":
    main()
