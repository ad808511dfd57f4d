"""GPU kernels in Triton, forward and backward, one file each: what the layers run on CUDA devices (Chapters 4 and 6).

Each reads its input once and writes its output once, in place of a chain of operations that each pass over memory. Each
has a PyTorch form beside it, ``..._reference``, which says the same in a few lines and runs anywhere. They can be
imported without Triton and without a GPU. To run them on a CPU, in Triton's interpreter, set ``TRITON_INTERPRET=1``
in the environment before Triton, or this package, is imported.

>>> from llmlib import kernels
>>> norm = kernels.rms_norm if kernels.available(x, weight) else kernels.rms_norm_reference
>>> y = norm(x, weight, eps=1e-6)
"""

from llmlib.kernels.cross_entropy import cross_entropy, cross_entropy_reference
from llmlib.kernels.flash_attention import (
    BlockMask,
    Walk,
    flash_attention,
    flash_attention_reference,
    pack,
)
from llmlib.kernels.rms_norm import rms_norm, rms_norm_reference
from llmlib.kernels.rope import rope, rope_reference
from llmlib.kernels.support import available
from llmlib.kernels.swiglu import swiglu, swiglu_reference

__all__ = [
    "BlockMask",
    "Walk",
    "available",
    "cross_entropy",
    "cross_entropy_reference",
    "flash_attention",
    "flash_attention_reference",
    "pack",
    "rms_norm",
    "rms_norm_reference",
    "rope",
    "rope_reference",
    "swiglu",
    "swiglu_reference",
]
