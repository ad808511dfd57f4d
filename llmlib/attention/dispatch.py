"""The one entry point: it checks what comes in and hands it to a backend (Chapter 3)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from llmlib.attention import dense
from llmlib.attention.bias import Bias
from llmlib.attention.block_sparse import block_sparse
from llmlib.attention.flash import flash
from llmlib.attention.flex import flex
from llmlib.attention.kinds import causal, full
from llmlib.attention.mask import Mask
from llmlib.attention.tiled import tiled
from llmlib.kernels import available

# Each takes (q, k, v, *, mask, scale), already checked, and raises a ValueError where it cannot serve.
_BACKENDS: dict[str, Callable[..., Tensor]] = {
    "reference": dense.reference,
    "sdpa": dense.sdpa,
    "tiled": tiled,
    "block_sparse": block_sparse,
    "flex": flex,
    "triton": flash,
}
_BIASED = ("reference", "sdpa", "flex")  # these take a bias, too
_LONG = 2**20  # pairs of a query and a key, from which on it pays to look for blocks to leave out
_SPARSE = 1 / 4  # of the blocks: where fewer are kept, leaving out the others is faster


def attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    bias: Bias | None = None,
    backend: str = "auto",
) -> Float[Tensor, "B H T D"]:
    """Scaled dot-product attention: softmax(q · kᵀ · scale + bias) · v over the keys that the mask allows.

    Vaswani et al. 2017, arXiv:1706.03762, equation 1 (Chapter 3); with G < H key/value heads, grouped-query
    attention (Ainslie et al. 2023, arXiv:2305.13245, section 2.2; Chapter 7).

    Args:
        q: Queries, (B, H, T, D).
        k: Keys, (B, G, S, D), where G divides H.
        v: Values, (B, G, S, D).
        mask: Which keys each query may see, from :mod:`llmlib.attention.masks`; None for all of them.
        scale: The factor of q · k; by default 1/√D.
        bias: What is added to each score, such as :func:`~llmlib.attention.bias.alibi`; None for nothing. The
            backends ``"reference"``, ``"sdpa"`` and ``"flex"`` take it (Chapter 11).
        backend: ``"reference"`` (the formula), ``"sdpa"`` (PyTorch's fused kernels), ``"tiled"`` (FlashAttention in
            plain PyTorch), ``"block_sparse"`` (only the blocks that the mask keeps), ``"flex"`` (PyTorch's
            FlexAttention, compiled), ``"triton"`` (llmlib's own FlashAttention kernels, on CUDA), or ``"auto"``,
            which takes the fastest that serves.

    Returns:
        A weighted mean of values for each query, (B, H, T, D); 0 for a query that the mask leaves no key.

    Raises:
        TypeError: q, k, v are not floating-point tensors of one dtype, the mask is not a Mask, or the bias not a
            Bias.
        ValueError: The shapes do not fit, no backend has that name, or the one that has it cannot serve here.
    """
    _check_tensors(q, k, v)
    if mask is not None and not isinstance(mask, Mask):
        raise TypeError(
            f"The mask is a {type(mask).__name__}, not a Mask. Take one of llmlib.attention.masks, or wrap a "
            "boolean tensor: Mask(lambda b, h, q_idx, kv_idx: allowed[q_idx, kv_idx])."
        )
    if bias is not None and not isinstance(bias, Bias):
        raise TypeError(
            f"The bias is a {type(bias).__name__}, not a Bias. Take llmlib.attention.alibi(heads), or wrap a tensor "
            "(H, T, S): Bias(lambda b, h, q_idx, kv_idx: added[h, q_idx, kv_idx])."
        )
    if backend == "auto":
        backend = "sdpa" if bias is not None else _choose(q, k, mask)
    if backend not in _BACKENDS:
        names = ", ".join(repr(name) for name in ("auto", *_BACKENDS))
        raise ValueError(f"There is no attention backend {backend!r} here; there are {names}.")
    if bias is None:
        return _BACKENDS[backend](q, k, v, mask=mask, scale=scale)
    if backend not in _BIASED:
        raise ValueError(
            f"The backend {backend!r} adds no bias to the scores, but bias = {bias}: take one of "
            f"{', '.join(map(repr, _BIASED))}."
        )
    return _BACKENDS[backend](q, k, v, mask=mask, scale=scale, bias=bias)


def _choose(q: Tensor, k: Tensor, mask: Mask | None) -> str:
    """The backend for ``"auto"``: one that leaves out blocks, for a long sequence of which the mask keeps little.

    On an H100 and later, that is the Triton kernel, however much the mask keeps: SDPA would read all of it.
    """
    batch, heads, queries, _ = q.shape
    keys = k.shape[2]
    if mask in (None, full(), causal()) or not mask.constant or queries * keys < _LONG:
        return "sdpa"
    if available(q) and _hopper(q) and q.element_size() == 2 and q.shape[3] <= 256:
        return "triton"
    lists = mask.blocks(queries, keys, batch=batch, heads=heads, device=q.device)
    return "block_sparse" if lists.share <= _SPARSE else "sdpa"


def _hopper(q: Tensor) -> bool:
    """Whether the device is of the kind that the Triton kernel's tiles are chosen for, or a later one."""
    return torch.cuda.get_device_capability(q.device) >= (9, 0)


def _check_tensors(q: Tensor, k: Tensor, v: Tensor) -> None:
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            what = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(f"Attention takes floating-point tensors, but {name} is {what}.")
        if tensor.dim() != 4:
            shape = "(B, H, T, D)" if name == "q" else "(B, G, S, D)"
            raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, but attention takes {shape}.")
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(
            f"q, k, v must have one dtype, but have {q.dtype}, {k.dtype}, {v.dtype}: convert with .to(...)."
        )
    if not q.device == k.device == v.device:
        raise ValueError(
            f"q, k, v must be on one device, but are on {q.device}, {k.device}, {v.device}: move them with "
            ".to(...)."
        )
    if k.shape != v.shape:
        raise ValueError(
            f"k and v must have one shape (B, G, S, D), but have {tuple(k.shape)} and {tuple(v.shape)}."
        )
    if (q.shape[0], q.shape[3]) != (k.shape[0], k.shape[3]):
        raise ValueError(
            f"q {tuple(q.shape)} and k {tuple(k.shape)} must agree in the batch B (first) and the head width "
            "D (last)."
        )
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"The number of key/value heads must divide the number of query heads, but G = {k.shape[1]} and "
            f"H = {q.shape[1]}: k and v are {tuple(k.shape)}, q is {tuple(q.shape)}."
        )
