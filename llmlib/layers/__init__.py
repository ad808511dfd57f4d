"""The layers that Transformers are made of (Chapters 3 and 4).

>>> from llmlib.layers import Block
>>> block = Block(width=64, heads=4, norm="pre")
"""

from llmlib.layers.attention import CausalSelfAttention, MultiHeadAttention
from llmlib.layers.blocks import NORM_PLACEMENTS, Block
from llmlib.layers.capture import Captured, capture
from llmlib.layers.feed_forward import ACTIVATIONS, FeedForward
from llmlib.layers.norms import LayerNorm, layer_norm
from llmlib.layers.positions import LearnedPositions, SinusoidalPositions, sinusoids

__all__ = [
    "ACTIVATIONS",
    "NORM_PLACEMENTS",
    "Block",
    "Captured",
    "CausalSelfAttention",
    "FeedForward",
    "LayerNorm",
    "LearnedPositions",
    "MultiHeadAttention",
    "SinusoidalPositions",
    "capture",
    "layer_norm",
    "sinusoids",
]
