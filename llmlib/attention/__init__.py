"""Attention: the one function that every model of the book calls, its masks and its backends (Chapter 3).

>>> from llmlib.attention import attention, masks
>>> out = attention(q, k, v, mask=masks.causal())
"""

from llmlib.attention import masks
from llmlib.attention.bias import Bias, alibi, alibi_slopes
from llmlib.attention.dense import attention_weights
from llmlib.attention.dispatch import attention
from llmlib.attention.masks import Mask

__all__ = ["Bias", "Mask", "alibi", "alibi_slopes", "attention", "attention_weights", "masks"]
