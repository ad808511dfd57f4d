"""Tokenizers: text to integers and back (Chapter 1).

>>> from llmlib.tokenizers import BPETokenizer
>>> tokenizer = BPETokenizer.train(["low lower lowest"], vocab_size=258)
>>> tokenizer.decode(tokenizer.encode("slow"))
'slow'
"""

from llmlib.tokenizers.bpe import BPETokenizer
from llmlib.tokenizers.unigram import UnigramTokenizer
from llmlib.tokenizers.wordpiece import WordPieceTokenizer

__all__ = ["BPETokenizer", "UnigramTokenizer", "WordPieceTokenizer"]
