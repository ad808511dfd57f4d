"""Tokenizers: llmlib beside Hugging Face's ``tokenizers`` and tiktoken.

    python -m benchmarks.tokenizers [--quick] [--json PATH]

All train on the same texts, and encode them with one call for each document, by tokenizers fresh from their file. The
answers must be the same, or the benchmark fails. Encoding runs in one thread; Hugging Face's trainer is shown with all
cores, its default, and with one. BPE encodes what it was trained on; WordPiece and Unigram learn python-docs only.
"""

import argparse
import json
import os
import sysconfig
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness

VOCAB_SIZE = 4096
SPECIAL = "<|endoftext|>"
OURS, PEER, PEER_ALONE = "llmlib", "tokenizers", "tokenizers, 1 thread"
HEADER = ["", "seconds", "from", "to", "MB/s", f"speed, {PEER} = 1", "peak MiB"]
SKIPPED_FOLDERS = {"site-packages", "test", "tests", "idle_test", "lib2to3"}

Encode = Callable[[str], list[int]]


# The contestants. Each imports what it needs, so that a process that measures memory holds nothing else.


def train_ours(texts: list[str]) -> Any:
    from llmlib.tokenizers.bpe import BPETokenizer

    return BPETokenizer.train(texts, VOCAB_SIZE, [SPECIAL])


def train_peer(texts: list[str], *, parallel: bool = True) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    os.environ["TOKENIZERS_PARALLELISM"] = str(parallel).lower()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_bpe(path: Path) -> Encode:
    from llmlib.tokenizers.bpe import BPETokenizer

    return BPETokenizer.load(path).encode


def load_wordpiece(path: Path) -> Encode:
    from llmlib.tokenizers.wordpiece import WordPieceTokenizer

    return WordPieceTokenizer.load(path).encode


def load_unigram(path: Path) -> Encode:
    from llmlib.tokenizers.unigram import UnigramTokenizer

    return UnigramTokenizer.load(path).encode


def load_peer(path: Path) -> Encode:
    from tokenizers import Tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # in a text they are ordinary text, as by default in the others
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def load_tiktoken(path: Path) -> Encode:
    import tiktoken

    from llmlib.tokenizers.byte_level import GPT2_PATTERN, from_symbols

    vocab = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    special = {SPECIAL: vocab.pop(SPECIAL)}
    ranks = {from_symbols(name): rank for name, rank in vocab.items()}
    return tiktoken.Encoding(
        path.name, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens=special
    ).encode_ordinary


TRAINERS: dict[str, Callable[[list[str]], Any]] = {
    OURS: train_ours,
    PEER: train_peer,
    PEER_ALONE: partial(train_peer, parallel=False),
}
ENCODERS: dict[str, dict[str, Callable[[Path], Encode]]] = {
    "BPE": {OURS: load_bpe, PEER: load_peer, "tiktoken": load_tiktoken},
    "WordPiece": {OURS: load_wordpiece, PEER: load_peer},
    "Unigram": {OURS: load_unigram, PEER: load_peer},
}


# Processes that measure memory start with one of these.


def read_texts(path: Path) -> list[str]:
    texts: list[str] = json.loads(path.read_bytes())
    return texts


def read_and_train(path: Path, name: str) -> None:
    TRAINERS[name](read_texts(path))


def read_and_encode(path: Path, kind: str, name: str, tokenizer: Path) -> None:
    encode = ENCODERS[kind][name](tokenizer)
    for text in read_texts(path):
        encode(text)


# The work.


def standard_library() -> list[str]:
    """The source of Python's standard library, without its tests: 11 MB."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(root.rglob("*.py"))
    return [
        file.read_text(encoding="utf-8")
        for file in files
        if not SKIPPED_FOLDERS.intersection(file.relative_to(root).parts)
    ]


def write_tokenizers(texts: list[str], folder: Path) -> dict[str, Path]:
    """Have Hugging Face's trainers make a WordPiece and a Unigram tokenizer, for all to load."""
    from tokenizers import BertWordPieceTokenizer, SentencePieceUnigramTokenizer

    options = {"vocab_size": VOCAB_SIZE, "show_progress": False}
    wordpiece, unigram = BertWordPieceTokenizer(), SentencePieceUnigramTokenizer()
    wordpiece.train_from_iterator(texts, **options)
    unigram.train_from_iterator(texts, **options, special_tokens=["<unk>"], unk_token="<unk>")
    paths = {}
    for kind, tokenizer in {"WordPiece": wordpiece, "Unigram": unigram}.items():
        document = json.loads(tokenizer.to_str())
        if kind == "Unigram":
            # The peer reads a score of 17 digits with a small error, and a short one exactly.
            document["model"]["vocab"] = [(piece, round(log, 9)) for piece, log in document["model"]["vocab"]]
        paths[kind] = folder / f"{kind}.json"
        paths[kind].write_text(json.dumps(document), encoding="utf-8")
    return paths


def merges_of(tokenizer: Any) -> list[list[str]]:
    """The merges of a trained tokenizer, as its file has them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        tokenizer.save(str(path))
        merges: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))["model"]["merges"]
        return merges


def check(answers: dict[str, Any], what: str) -> None:
    for name, answer in answers.items():
        if answer != answers[PEER]:
            raise SystemExit(f"{what}: {name} and {PEER} do not give the same answer")


def compare(
    what: str,
    size: int,
    timings: dict[str, harness.Timing],
    memory: dict[str, float],
) -> list[dict[str, Any]]:
    """Print a table of the contestants, and give its rows for the record."""
    rows, records = [], []
    for name, timing in timings.items():
        speed = timing.times_as_fast_as(timings[PEER])
        rows.append(
            [
                name,
                f"{timing.median:.3f}",
                f"{min(timing.seconds):.3f}",
                f"{max(timing.seconds):.3f}",
                f"{size / timing.median / 1e6:.1f}",
                f"{speed:.2f}",
                f"{memory[name]:.0f}" if name in memory else "",
            ]
        )
        records.append(
            {
                "task": what,
                "contestant": name,
                "bytes": size,
                "seconds": timing.seconds,
                "speed_relative_to_peer": speed,
                "peak_mib": memory.get(name),
            }
        )
    harness.print_table(what, HEADER, rows)
    return records


def run(corpora: dict[str, list[str]], rounds: int, folder: Path) -> list[dict[str, Any]]:
    records = []
    tokenizers = {"BPE": folder / "BPE.json", **write_tokenizers(next(iter(corpora.values())), folder)}
    for corpus, texts in corpora.items():
        size = sum(len(text.encode()) for text in texts)
        path = folder / f"{corpus}.json"
        path.write_text(json.dumps(texts), encoding="utf-8")

        what = f"Training BPE at {VOCAB_SIZE} tokens on {corpus}, {size / 1e6:.1f} MB"
        timings = harness.take_turns(
            {name: partial(partial, train, texts) for name, train in TRAINERS.items()}, rounds
        )
        check({name: merges_of(timing.answer) for name, timing in timings.items()}, what)
        memory = {name: harness.peak_memory(read_and_train, path, name) for name in TRAINERS}
        records += compare(what, size, timings, memory)
        timings[PEER].answer.save(str(tokenizers["BPE"]))

        for kind, loaders in ENCODERS.items():
            what = f"Encoding {corpus} with {kind}, {size / 1e6:.1f} MB, {len(texts)} documents"
            contestants = {
                name: partial(encode_all, load, tokenizers[kind], texts) for name, load in loaders.items()
            }
            if kind == "BPE":
                contestants["llmlib, just trained on it"] = partial(train_and_encode_all, texts)
            timings = harness.take_turns(contestants, rounds)
            check({name: timing.answer for name, timing in timings.items()}, what)
            memory = {
                name: harness.peak_memory(read_and_encode, path, kind, name, tokenizers[kind])
                for name in loaders
            }
            records += compare(what, size, timings, memory)
    return records


def encode_all(load: Callable[[Path], Encode], path: Path, texts: list[str]) -> Callable[[], list[list[int]]]:
    """Load, and give the work to be timed."""
    encode = load(path)
    return lambda: [encode(text) for text in texts]


def train_and_encode_all(texts: list[str]) -> Callable[[], list[list[int]]]:
    """The same by a tokenizer that remembers its training."""
    encode = train_ours(texts).encode
    return lambda: [encode(text) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description="llmlib's tokenizers beside Hugging Face's and tiktoken.")
    parser.add_argument("--quick", action="store_true", help="the small corpus only, in few rounds")
    parser.add_argument("--rounds", type=int, help="how often each runs (default: 7, or 3 with --quick)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures to this file, too")
    options = parser.parse_args()

    from llmlib import corpora

    texts = {"python-docs": list(corpora.load("python-docs").documents)}
    if not options.quick:
        texts["the standard library's source"] = standard_library()
    environment = harness.environment(["llmlib", "tokenizers", "tiktoken", "regex"])
    print(json.dumps(environment, ensure_ascii=False))
    with tempfile.TemporaryDirectory() as folder:
        records = run(texts, options.rounds or (3 if options.quick else 7), Path(folder))
    if options.json:
        harness.write_record(options.json, {"environment": environment, "results": records})


if __name__ == "__main__":
    main()
