"""From many key/value heads to few: a trained model becomes one with grouped queries (Chapter 7)."""

from dataclasses import replace

import torch

from llmlib.models.llama import Llama


@torch.no_grad()
def share_heads(model: Llama, kv_heads: int) -> Llama:
    """A Llama with fewer key/value heads, each the mean of the heads that it replaces (Chapter 7).

    Ainslie et al. 2023, arXiv:2305.13245, section 2.1: mean pooling keeps more of what the model knows than taking one
    head of each group, or random ones; then training goes on for a small part (there 5 %) of the original steps, for
    the model has to get used to it. The query heads of a group stand next to each other, so their keys and values do.

    Args:
        model: The trained model, which stays as it is.
        kv_heads: G of the new model, which must divide that of the old one. 1 gives multi-query attention.

    Returns:
        A model with weights of its own. With G as before, it computes what the old one does.

    Raises:
        ValueError: G does not divide the old number of key/value heads.
    """
    old = model.config.kv_heads or model.config.heads
    if isinstance(kv_heads, bool) or not isinstance(kv_heads, int) or kv_heads < 1 or old % kv_heads:
        raise ValueError(
            f"kv_heads must divide the {old} key/value heads that the model has, but is {kv_heads!r}."
        )
    weights = {}
    for name, weight in model.state_dict().items():
        if ".attention.key." in name or ".attention.value." in name:
            # (G · D, C) or (G · D): the groups first, then the heads of a group, whose mean is taken
            groups = weight.unflatten(0, (kv_heads, old // kv_heads, -1))
            weights[name] = groups.mean(dim=1).flatten(0, 1)
        else:
            weights[name] = weight.clone()
    with torch.device("meta"):  # takes no memory and draws no random numbers
        shared = Llama(replace(model.config, kv_heads=kv_heads))
    shared.load_state_dict(weights, assign=True)
    return shared.train(model.training)
