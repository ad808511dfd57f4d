"""The language models of the book (Chapters 2, 3 and later).

>>> from llmlib.models import GPT, GPTConfig
>>> model = GPT(GPTConfig.preset("gpt2", layers=2, width=64, heads=4))
"""

from llmlib.models.gpt import GPT
from llmlib.models.gpt_config import GPTConfig
from llmlib.models.ngram import KneserNey
from llmlib.models.rnn import RNN, RNNConfig

__all__ = ["GPT", "RNN", "GPTConfig", "KneserNey", "RNNConfig"]
