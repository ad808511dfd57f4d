"""A training step of GPT and of Llama beside Hugging Face's: tokens per second and memory.

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
from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig

# Shape and batch size of what Chapters 3 and 4 train, of what a patient reader may, and of GPT-2 for a GPU.
CASES: dict[str, tuple[GPTConfig | LlamaConfig, int]] = {
    "chapter": (GPTConfig(vocab_size=2048, context=128, width=96, layers=2, heads=4), 16),
    "laptop": (GPTConfig(vocab_size=2048, context=256, width=256, layers=8, heads=8), 16),
    "gpu": (GPTConfig.preset("gpt2"), 16),
    "llama-chapter": (LlamaConfig(vocab_size=2048, context=128, width=96, layers=2, heads=4, kv_heads=2), 16),
    "llama-laptop": (LlamaConfig(vocab_size=2048, context=256, width=256, layers=8, heads=8, kv_heads=4), 16),
    "llama-gpu": (
        LlamaConfig(vocab_size=32000, context=1024, width=768, layers=12, heads=12, kv_heads=4),
        16,
    ),
}
PEERS = {"GPT": "GPT2LMHeadModel", "Llama": "LlamaForCausalLM"}
WARM_UP = 3  # steps, in which memory is first touched


class Trainee:
    """One of the two models, which learns a batch at a time."""

    def __init__(self, name: str, case: str, options: argparse.Namespace) -> None:
        config, self.batch_size = CASES[case]
        torch.manual_seed(0)
        torch.set_num_threads(options.threads)
        model: nn.Module = build(config)
        if name in PEERS.values():
            model = hugging_face(model)
        self.options, self.context = options, config.context
        self.model = model.to(options.device).train()
        self.forward = torch.compile(self.model) if options.compile else self.model
        self.keywords = {"use_cache": False} if name in PEERS.values() else {}
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


def build(config: GPTConfig | LlamaConfig) -> GPT | Llama:
    """Our model of this shape, with random weights."""
    return GPT(config) if isinstance(config, GPTConfig) else Llama(config)


def hugging_face(model: GPT | Llama) -> nn.Module:
    """Hugging Face's model with the weights of ours."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return getattr(transformers, PEERS[type(model).__name__]).from_pretrained(folder)


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


def flops_per_token(config: GPTConfig | LlamaConfig) -> float:
    """Of one training step: 6 N + 12 L C T (Chowdhery et al. 2022, arXiv:2204.02311, appendix B)."""
    with torch.device("meta"):
        n = build(config).num_parameters(embeddings=False) + config.vocab_size * config.width
    return 6 * n + 12 * config.layers * config.width * config.context


def flops_of_matrix_product(options: argparse.Namespace) -> float:
    """The most floating-point operations a second in products of two large square matrices on this device."""
    size = 8192 if options.device == "cuda" else 2048
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    matrix = torch.randn(size, size, device=options.device, dtype=dtype)

    def product() -> float:
        return (matrix @ matrix)[0, 0].item()

    return 2 * size**3 / min(harness.take_turns({"": lambda: product}, rounds=10)[""].seconds)


def measure(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one case, which are printed as a table."""
    config, batch_size = CASES[case]
    tokens = batch_size * config.context
    with torch.device("meta"):
        model = build(config)
    peer = PEERS[type(model).__name__]
    trainees = {name: Trainee(name, case, options) for name in (f"llmlib {type(model).__name__}", peer)}
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
            "relative_speed": timing.times_as_fast_as(timings[peer]),
            "mib": memory(trainees[name], name, case, idle),
            "share_of_matrix_product": tokens / timing.median * flops_per_token(config) / product,
        }
    parameters = model.num_parameters()
    harness.print_table(
        f"{case}: {parameters:,} parameters, {options.steps} steps of {batch_size} × {config.context} tokens; "
        f"losses from {ours[0]:.3f} to {ours[-1]:.3f}, at most {apart:.1g} apart",
        ["", "tokens/s", "from", "to", f"speed, {peer} = 1", "MiB", "of matrix product"],
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
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, help="default: all for a CPU; on a GPU: all for it"
    )
    parser.add_argument("--steps", type=int, default=20, help="steps of each that count (%(default)s)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--bf16", action="store_true", help="matrix products in bfloat16")
    parser.add_argument("--compile", action="store_true", help="compile both models")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="of the CPU (%(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    cases = options.cases or [case for case in CASES if case.endswith("gpu") == (options.device == "cuda")]
    results = [measure(case, options) for case in cases]
    if options.json:
        settings = {
            name: getattr(options, name) for name in ("device", "bf16", "compile", "threads", "steps")
        }
        environment = harness.environment(["torch", "transformers"])
        harness.write_record(options.json, {**environment, **settings, "results": results})


if __name__ == "__main__":
    main()
