"""The language models of the book (Chapters 2, 3 and later).

>>> from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig
>>> model = GPT(GPTConfig.preset("gpt2", layers=2, width=64, heads=4))
>>> modern = Llama(LlamaConfig.preset("llama-3-8b", layers=2, width=64, heads=8))

A trained model comes with the package:

>>> from llmlib.models import SHIPPED
>>> from llmlib.tokenizers import BPETokenizer
>>> model, tokenizer = Llama.from_pretrained(SHIPPED), BPETokenizer.load(SHIPPED / "tokenizer.json")
"""

from pathlib import Path

from llmlib.models.gpt import GPT
from llmlib.models.gpt_config import GPTConfig
from llmlib.models.llama import Llama
from llmlib.models.llama_config import LlamaConfig
from llmlib.models.ngram import KneserNey
from llmlib.models.rnn import RNN, RNNConfig
from llmlib.models.variants import LlamaVariant

SHIPPED = Path(__file__).parent / "shipped"
"""The checkpoint that comes with the package: a LLaMA of 5.2 million parameters. See ``record.json`` in it."""

__all__ = [
    "GPT",
    "RNN",
    "SHIPPED",
    "GPTConfig",
    "KneserNey",
    "Llama",
    "LlamaConfig",
    "LlamaVariant",
    "RNNConfig",
]
