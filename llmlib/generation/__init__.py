"""Text from a model, token by token (Chapters 2, 7 and 8).

>>> from llmlib.generation import Sampler, generate
>>> ids = generate(model, tokenizer.encode("The with statement"), 50, sampler=Sampler(top_p=0.9), seed=0)
>>> print(tokenizer.decode(ids))
"""

from llmlib.generation import sampling
from llmlib.generation.generate import generate, stream
from llmlib.generation.sampling import Sampler

__all__ = ["Sampler", "generate", "sampling", "stream"]
