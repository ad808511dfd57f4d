"""The layers that Transformers are made of (Chapters 3 and 4).

>>> from llmlib.layers import Block, LlamaBlock
>>> block = Block(width=64, heads=4, norm="pre")
>>> modern = LlamaBlock(width=64, heads=4, kv_heads=2)
"""

from llmlib.layers.attention import CausalSelfAttention, GroupedQueryAttention, MultiHeadAttention
from llmlib.layers.blocks import NORM_PLACEMENTS, Block, LlamaBlock
from llmlib.layers.capture import Captured, capture
from llmlib.layers.feed_forward import ACTIVATIONS, GATES, GLU, FeedForward, SwiGLU, gated_hidden, swish
from llmlib.layers.norms import LayerNorm, RMSNorm, layer_norm, rms_norm
from llmlib.layers.positions import LearnedPositions, SinusoidalPositions, sinusoids
from llmlib.layers.rope_by_parts import Llama3Scaling, YarnScaling
from llmlib.layers.rope_scaling import DynamicScaling, LinearScaling, RopeScaling, ntk_base, rope_frequencies
from llmlib.layers.rotary import (
    ROPE_SCALINGS,
    RotaryEmbedding,
    Rotation,
    rotate,
    to_half,
    to_interleaved,
)

__all__ = [
    "ACTIVATIONS",
    "GATES",
    "GLU",
    "NORM_PLACEMENTS",
    "ROPE_SCALINGS",
    "Block",
    "Captured",
    "CausalSelfAttention",
    "DynamicScaling",
    "FeedForward",
    "GroupedQueryAttention",
    "LayerNorm",
    "LearnedPositions",
    "LinearScaling",
    "Llama3Scaling",
    "LlamaBlock",
    "MultiHeadAttention",
    "RMSNorm",
    "RopeScaling",
    "RotaryEmbedding",
    "Rotation",
    "SinusoidalPositions",
    "SwiGLU",
    "YarnScaling",
    "capture",
    "gated_hidden",
    "layer_norm",
    "ntk_base",
    "rms_norm",
    "rope_frequencies",
    "rotate",
    "sinusoids",
    "swish",
    "to_half",
    "to_interleaved",
]
