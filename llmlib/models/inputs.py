"""What every model checks of its token ids, and asks of its callers."""

import torch
from torch import Tensor


def check_ids(ids: Tensor, vocab_size: int | None) -> None:
    """Refuse token ids that a model cannot read.

    On a GPU the values are not checked, for every step would have to wait for the device.

    Args:
        ids: What should be token ids (B, T).
        vocab_size: V, or None where it is not known.

    Raises:
        TypeError: They are not whole numbers.
        ValueError: They are not (B, T), there is none, or one goes beyond the vocabulary.
    """
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise TypeError(f"Token ids must be whole numbers, but are {ids.dtype}: convert with .long().")
    if ids.dim() != 2 or 0 in ids.shape:
        raise ValueError(
            f"Token ids must have the shape (B, T), but have {tuple(ids.shape)}: for one sequence, ids[None]."
        )
    if vocab_size is not None and ids.device.type == "cpu" and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in ids.aminmax())
        if low < 0 or high >= vocab_size:
            raise ValueError(
                f"Token ids must be in 0 … {vocab_size - 1} (the vocabulary of this model), but there is "
                f"{low if low < 0 else high}: encode with the tokenizer that the model was trained with."
            )
