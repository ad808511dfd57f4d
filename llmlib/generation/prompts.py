"""What comes in as a prompt, or as several: checked, and brought where the model is."""

import torch
from jaxtyping import Int
from torch import Tensor

from llmlib.models.inference import LanguageModel, context_of, device_of, vocab_size_of
from llmlib.models.inputs import check_ids


def several(ids: list[int] | list[list[int]] | Tensor) -> bool:
    """Whether these are several prompts, or one."""
    return ids.dim() == 2 if isinstance(ids, Tensor) else bool(ids) and isinstance(ids[0], list)


def read_prompts(model: LanguageModel, ids: list[int] | list[list[int]] | Tensor) -> list[Int[Tensor, " _"]]:
    """The prompts, where the model is.

    Raises:
        TypeError: They are no lists or tensors of whole numbers.
        ValueError: One is empty, longer than the model's context, or goes beyond the vocabulary.
    """
    if not isinstance(ids, list | Tensor):
        raise TypeError(f"The prompt must be a list of token ids or a tensor, but is a {type(ids).__name__}.")
    if isinstance(ids, list) and several(ids):
        if not all(isinstance(prompt, list) for prompt in ids):
            raise TypeError(
                "Several prompts must be a list of lists of token ids, but there is something else in it."
            )
        return [read_prompts(model, prompt)[0] for prompt in ids]  # type: ignore[arg-type]
    prompt = torch.as_tensor(ids)
    if prompt.numel() == 0:
        raise ValueError(
            "The prompt is empty, so there is nothing to predict from. To begin a new text, give the "
            "end-of-text token, which stands between texts in training."
        )
    prompt = prompt[None] if prompt.dim() == 1 else prompt
    check_ids(prompt.cpu(), vocab_size_of(model))
    # Where a configuration says it, it is what the model was made for. An n-gram model looks at the last tokens anyway.
    context = context_of(model) if hasattr(model, "config") else None
    if context is not None and prompt.shape[1] > context:
        raise ValueError(
            f"The prompt has {prompt.shape[1]} tokens, but the model reads at most {context}: give the last of them, "
            f"ids[-{context}:]."
        )
    return list(prompt.to(device_of(model), torch.long))
