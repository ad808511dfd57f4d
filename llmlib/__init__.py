"""llmlib: the code of the book, one room for each idea.

Importing ``llmlib`` loads nothing else: open the room that you need, for example
``from llmlib.tokenizers import BPETokenizer``.
"""

__version__ = "0.1.0"
