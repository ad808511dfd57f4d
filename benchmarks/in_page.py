"""The speed of the model in the page: tokens per second and the time to the first token, in headless Chromium.

    python -m benchmarks.in_page [--model FOLDER] [--json PATH]

It runs the JavaScript of the writing desk in a worker, with WebAssembly's SIMD and without, as a browser lacks it. Both
must write the greedy text that PyTorch writes with the same rounded weights, or the benchmark fails.
"""

import argparse
import base64
import shutil
import statistics
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness
from benchmarks.generation import GREEDY, SHAPE
from llmlib.figures.live import worker_script
from llmlib.figures.page_model import pack, rounded
from llmlib.generation import generate
from llmlib.models import Llama

# A worker of the page's own code, which tells how long it took.
WORKER = (
    worker_script("matvec.js", "llama.js", "sampling.js")
    + """
let model;
self.onmessage = ({ data: { packed, simd, prompt, count } }) => {
  const start = performance.now();
  model ??= llama(packed, { simd });
  const loaded = performance.now();
  model.forget();
  prompt.slice(0, -1).forEach((id) => model.read(id, false));
  const ids = [...prompt];
  let first;
  for (let i = 0; i < count; i++) {
    ids.push(mostProbable(model.read(ids.at(-1))));
    first ??= performance.now();
  }
  const end = performance.now();
  const seconds = [loaded - start, first - loaded, end - first].map((ms) => ms / 1000);
  self.postMessage({ ids, simd: model.simd, seconds });
};
"""
)
START = """([source, text]) => {
    window.packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    window.start = () => new Worker(url);
    window.ask = (worker, message) => new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(message);
    });
}"""
ASK = """async ([simd, prompt, count]) => {
    const worker = window[`worker${simd}`] ??= start();
    return ask(worker, { packed, simd, prompt, count });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", metavar="FOLDER", help="a trained Llama in place of random weights")
    parser.add_argument("--prompt", type=int, default=50, help="tokens of the prompt (%(default)s)")
    parser.add_argument("--tokens", type=int, default=100, help="new tokens (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="texts of each (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="record the figures")
    options = parser.parse_args()
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        print("Skipped, for it needs a browser: apt-get install chromium")  # the other benchmarks need none
        return
    from playwright.sync_api import sync_playwright

    torch.manual_seed(0)
    model = (Llama.from_pretrained(options.model) if options.model else Llama(SHAPE)).eval()
    data = pack(model)
    prompt = torch.randint(model.config.vocab_size, (options.prompt,)).tolist()
    expected = generate(rounded(model), prompt, options.tokens, sampler=GREEDY)
    answers: dict[str, list[Any]] = {"SIMD": [], "plain JavaScript": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        page.goto("about:blank")
        page.evaluate(START, [WORKER, base64.b64encode(data).decode()])
        for _ in range(options.rounds):
            for name, of_name in answers.items():
                of_name.append(page.evaluate(ASK, [name == "SIMD", prompt, options.tokens]))
        version = browser.version
        browser.close()
    if any(answer["ids"] != expected for of_name in answers.values() for answer in of_name):
        raise SystemExit("The page wrote other tokens than PyTorch, but must write the same.")
    figures = {}
    for name, of_name in answers.items():
        load, first, rest = zip(*(answer["seconds"] for answer in of_name), strict=True)
        figures[name] = {
            "tokens_per_second": (options.tokens - 1) / statistics.median(rest),
            "first_token_seconds": statistics.median(first),
            "load_seconds": load[0],
        }
    harness.print_table(
        f"{model.num_parameters():,} parameters, {len(data) / 2**20:.1f} MiB; {options.tokens} tokens after "
        f"{options.prompt}, {options.rounds} rounds, the same text as PyTorch; Chromium {version}",
        ["", "tokens/s", "first token, ms", "load, ms"],
        [
            [
                name,
                f"{figure['tokens_per_second']:,.0f}",
                f"{figure['first_token_seconds'] * 1e3:,.0f}",
                f"{figure['load_seconds'] * 1e3:,.0f}",
            ]
            for name, figure in figures.items()
        ],
    )
    if options.json:
        settings = {name: getattr(options, name) for name in ("prompt", "tokens", "rounds")}
        settings |= {"parameters": model.num_parameters(), "bytes": len(data), "chromium": version}
        harness.write_record(options.json, {**harness.environment(["torch"]), **settings, "figures": figures})


if __name__ == "__main__":
    main()
