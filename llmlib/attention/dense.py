"""Dense attention: every query meets every key, once as the formula and once through PyTorch's fused kernels.

Vaswani et al. 2017, arXiv:1706.03762, equation 1: Attention(Q, K, V) = softmax(Q Kᵀ / √D) V (Chapter 3).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

from llmlib.attention.bias import Bias
from llmlib.attention.masks import Mask, causal, full

BIASES_AT_ONCE = 2**22


def attention_weights(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T S"]:
    """How much each query takes from each key: the softmax of q · k · scale over the keys that it may see.

    Vaswani et al. 2017, arXiv:1706.03762, equation 1 without its V (Chapter 3).

    Args:
        q: Queries.
        k: Keys. Each of the G key heads serves the H / G query heads that stand next to each other.
        mask: Which keys a query may see; None for all of them.
        scale: The factor of q · k; by default 1/√D, which gives scores of variance 1 to random q and k.
        bias: What is added to the scaled scores; None for nothing.

    Returns:
        Weights. Each row sums to 1, or is all 0 where the mask leaves a query no key.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = q @ _repeat(k, q).mT * scale  # (B, H, T, S)
    if bias is not None:
        added = bias.dense(*scores.shape[-2:], batch=q.shape[0], heads=q.shape[1], device=q.device)
        scores = scores + added.to(scores.dtype)
    if mask is None:
        return scores.softmax(dim=-1)
    hidden = ~mask.dense(*scores.shape[-2:], batch=q.shape[0], heads=q.shape[1], device=q.device)
    # The lowest finite score, not −∞: a row with nothing to see would be 0/0, and its gradients NaN.
    scores = scores.masked_fill(hidden, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(hidden, 0)


def reference(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention as its formula says, with all T · S weights in memory at once."""
    return attention_weights(q, k, mask=mask, scale=scale, bias=bias) @ _repeat(v, q)


def sdpa(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
    bias: Bias | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention by PyTorch's ``scaled_dot_product_attention``, which picks a fused kernel of the device.

    A causal mask is never written out; any other is, with T · S entries. A bias is written out for some queries at
    a time, so that the memory it takes does not grow with T.
    """
    if bias is not None:
        return _biased(q, k, v, mask, scale, bias)
    dense = None
    if mask not in (None, full(), causal()):
        dense = mask.dense(q.shape[2], k.shape[2], batch=q.shape[0], heads=q.shape[1], device=q.device)
    return F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=dense,
        is_causal=mask == causal(),
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
    )


def _biased(
    q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, scale: float | None, bias: Bias
) -> Float[Tensor, "B H T D"]:
    """Fused attention with a bias, for as many queries at once as have :data:`BIASES_AT_ONCE` numbers to add."""
    b = torch.arange(q.shape[0], device=q.device).view(-1, 1, 1, 1)
    h = torch.arange(q.shape[1], device=q.device).view(1, -1, 1, 1)
    kv_idx = torch.arange(k.shape[2], device=q.device)
    out = []
    for q_idx in torch.arange(q.shape[2], device=q.device).split(
        max(1, BIASES_AT_ONCE // (q.shape[1] * k.shape[2]))
    ):
        at = b, h, q_idx.view(-1, 1), kv_idx
        added = bias.bias_mod(*at).to(q.dtype)
        if mask is not None:
            added = added.masked_fill(~mask.mask_mod(*at), -math.inf)
        rows = q[:, :, q_idx[0] : q_idx[-1] + 1]
        grouped = q.shape[1] != k.shape[1]
        out.append(
            F.scaled_dot_product_attention(rows, k, v, attn_mask=added, scale=scale, enable_gqa=grouped)
        )
    return torch.cat(out, dim=2)


def _repeat(kv: Float[Tensor, "B G S D"], q: Float[Tensor, "B H T D"]) -> Float[Tensor, "B H S D"]:
    """Keys or values, each head repeated for the query heads that share it."""
    return kv if kv.shape[1] == q.shape[1] else kv.repeat_interleave(q.shape[1] // kv.shape[1], dim=1)
