"""Greedy text of a Llama beside Hugging Face's ``generate``: tokens per second, and the time to the first token.

    python -m benchmarks.generation [--threads 2] [--json PATH]
    python -m benchmarks.generation --model FOLDER

Both have the same weights and prompts, in float32, and must write the same tokens, or the benchmark fails. Without
``--model`` the weights are random, of the shape of the model that comes with the book, and drawn wide enough that no
two tokens are almost equally probable.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.training import hugging_face
from llmlib.generation import Sampler, generate
from llmlib.models import Llama, LlamaConfig

SHAPE = LlamaConfig(
    vocab_size=4096, context=512, width=256, layers=6, heads=8, kv_heads=2, tied=True, init_std=0.1
)
PEER = "transformers"
OURS = "llmlib"
UNCACHED = "llmlib, no cache"
GREEDY = Sampler(temperature=0)


def write(model: Llama, ids: Tensor, tokens: int, cache: bool = True) -> Tensor:
    """Our greedy continuation."""
    return generate(model, ids, tokens, sampler=GREEDY, cache=cache)


def write_as_peer(model: nn.Module, ids: Tensor, tokens: int) -> Tensor:
    """Hugging Face's."""
    with torch.inference_mode():
        return model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=None,
            pad_token_id=0,
        )


def on_one_core(writer: Callable[[Tensor, int], Tensor], ids: Tensor, tokens: int) -> Tensor:
    """What a writer writes with one thread, which is the faster way for small models: ours chooses it by itself."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return writer(ids, tokens)
    finally:
        torch.set_num_threads(threads)


def measure(
    writers: dict[str, Callable[[Tensor, int], Tensor]],
    vocab_size: int,
    batch: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """The figures of one batch size, which are printed as a table."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(vocab_size, (batch, options.prompt), generator=generator)

    def timings(tokens: int, rounds: int) -> dict[str, harness.Timing]:
        works = {name: partial(writer, ids, tokens) for name, writer in writers.items()}
        return harness.take_turns({name: (lambda work=work: work) for name, work in works.items()}, rounds)

    timings(8, 1)  # warm up
    whole, first = timings(options.tokens, options.rounds), timings(1, options.rounds)
    texts = [timing.answer for timing in whole.values()]
    if not all(torch.equal(text, texts[0]) for text in texts):
        raise SystemExit("The contestants wrote different tokens, but must write the same.")
    figures = {
        name: {
            "tokens_per_second": batch * options.tokens / timing.median,
            "quartiles": [batch * options.tokens / s for s in np.quantile(timing.seconds, [0.75, 0.25])],
            "relative_speed": timing.times_as_fast_as(whole[PEER]),
            "first_token_seconds": first[name].median,
        }
        for name, timing in whole.items()
    }
    harness.print_table(
        f"batch {batch}: {options.tokens} tokens after {options.prompt}, {options.rounds} rounds, the same text",
        ["", "tokens/s", "from", "to", f"speed, {PEER} = 1", "first token, ms"],
        [
            [
                name,
                f"{figure['tokens_per_second']:,.0f}",
                *(f"{bound:,.0f}" for bound in figure["quartiles"]),
                f"{figure['relative_speed']:.2f}",
                f"{figure['first_token_seconds'] * 1e3:,.1f}",
            ]
            for name, figure in figures.items()
        ],
    )
    return {"batch": batch, "figures": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="FOLDER", help="a trained Llama in place of random weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="texts at once (%(default)s)")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of each prompt (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="texts of each (%(default)s)")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: PyTorch's choice"
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = (Llama.from_pretrained(options.model) if options.model else Llama(SHAPE)).eval()
    peer = hugging_face(model).eval()
    writers = {
        OURS: partial(write, model),
        PEER: partial(write_as_peer, peer),
        f"{PEER}, 1 thread": partial(on_one_core, partial(write_as_peer, peer)),
        UNCACHED: partial(write, model, cache=False),
    }
    print(f"{model.num_parameters():,} parameters, {options.threads} threads")
    results = []
    for batch in options.batches:
        if batch > 1:
            writers.pop(UNCACHED, None)  # which one batch shows to be slow enough
        results.append(measure(writers, model.config.vocab_size, batch, options))
    if options.json:
        settings = {name: getattr(options, name) for name in ("prompt", "tokens", "rounds", "threads")}
        settings["parameters"] = model.num_parameters()
        record = {**harness.environment(["torch", "transformers"]), **settings, "results": results}
        harness.write_record(options.json, record)


if __name__ == "__main__":
    main()
