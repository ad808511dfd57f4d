"""What a text is worth that is read more than once (Chapter 9)."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llmlib.scaling.checks import positive

DECAY = 15.387756  # Muennighoff et al. 2023, arXiv:2305.16264, appendix A: R*_D


def effective_tokens(D: ArrayLike, unique: ArrayLike, decay: float = DECAY) -> Any:
    """D tokens of ``unique`` different ones are worth as many new tokens as this (Chapter 9).

    Muennighoff et al. 2023, arXiv:2305.16264, eq. 5: U + U R* (1 − exp(−R / R*)), where R = D / U − 1 is how often the
    text is read again. The first few repetitions are nearly as good as new text; however often it is read, U tokens
    are never worth more than U (1 + R*).

    Args:
        D: Tokens seen in training: a number or an array.
        unique: U, the tokens of different text.
        decay: R*, the number of repetitions after which one more is worth 1/e of a new text.

    Returns:
        Tokens, of the shape that D and U have together.

    Raises:
        ValueError: A number is not positive and finite.
    """
    seen, fresh = np.broadcast_arrays(positive("D", D), positive("unique", unique))
    scale = positive("decay", decay)
    again = np.maximum(seen / fresh - 1, 0)
    return np.minimum(seen, fresh) - fresh * scale * np.expm1(-again / scale)
