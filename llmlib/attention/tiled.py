"""FlashAttention in plain PyTorch, tile by tile, to be read: what the Triton kernel does, in the open (Chapter 6).

Dao 2023, arXiv:2307.08691, algorithms 1 and 2. Scores exist only for one tile of queries and keys at a time, so the
memory needed beside q, k, v and the output grows as T + S and not as T · S. What a tile moves between the large slow
memory and the small fast one is counted, as in theorem 2 of Dao et al. 2022, arXiv:2205.14135.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from llmlib.attention.mask import Mask

TILE = (256, 256)


@dataclass
class Traffic:
    """What has moved between slow and fast memory, in bytes (Chapter 6).

    Attributes:
        read: From slow to fast memory.
        written: From fast to slow memory.
    """

    read: int = 0
    written: int = 0

    def load(self, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Count a tile as read; in fast memory it has the given dtype."""
        self.read += x.numel() * x.element_size()
        return x.to(dtype or x.dtype)

    def store(self, target: Tensor, x: Tensor) -> None:
        """Write a tile to its place, and count it."""
        self.written += target.numel() * target.element_size()
        target.copy_(x)


@dataclass(frozen=True)
class Step:
    """Where the online softmax stands after a tile of keys (Chapter 6).

    Attributes:
        rows: The queries of the tile.
        columns: Its keys.
        highest: The highest score of each query so far, (B, H, rows, 1).
        total: The sum of exp(score - highest) so far, (B, H, rows, 1).
        weighted: The sum of exp(score - highest) · value so far, (B, H, rows, D); the output is weighted / total.
        last: Whether these queries have now met all their keys.
    """

    rows: slice
    columns: slice
    highest: Tensor
    total: Tensor
    weighted: Tensor
    last: bool


def walk(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
    traffic: Traffic | None = None,
) -> Iterator[Step]:
    """The forward pass, step by step: each tile of queries meets the tiles of keys, one after the other (Chapter 6).

    Dao 2023, arXiv:2307.08691, algorithm 1. The division by the total is deferred to the end of a row of tiles.

    Args:
        q: Queries.
        k: Keys; G divides H.
        v: Values.
        mask: Which keys a query may see; None for all. Tiles of which it allows nothing are left out.
        scale: The factor of q · k; by default 1/√D.
        tile: How many queries and how many keys meet at a time.
        traffic: Where to count what moves.

    Yields:
        The running maximum, sum and output after each tile.
    """
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    traffic = Traffic() if traffic is None else traffic
    wide = torch.promote_types(q.dtype, torch.float32)
    for rows in _cut(q.shape[2], tile[0]):
        q_tile = traffic.load(q[:, :, rows], wide)
        # The lowest finite number and not −∞: for a query that may see no key, −∞ − (−∞) would be no number.
        highest = torch.full_like(q_tile[..., :1], torch.finfo(wide).min)
        total, weighted = torch.zeros_like(highest), torch.zeros_like(q_tile)
        kept = [
            (columns, allowed)
            for columns in _cut(k.shape[2], tile[1])
            if (allowed := _allowed(mask, q, rows, columns)) is None or allowed.any()
        ]
        for columns, allowed in kept:
            k_tile = _for_each_head(traffic.load(k[:, :, columns], wide), q)
            v_tile = _for_each_head(traffic.load(v[:, :, columns], wide), q)
            scores = _hide(q_tile @ k_tile.mT * scale, allowed)
            higher = torch.maximum(highest, scores.amax(-1, keepdim=True))
            weights = (scores - higher).exp()
            # What was relative to the old maximum is now relative to the new one.
            shrink = (highest - higher).exp()
            total = total * shrink + weights.sum(-1, keepdim=True)
            weighted = weighted * shrink + weights @ v_tile
            highest = higher
            yield Step(rows, columns, highest, total, weighted, last=columns == kept[-1][0])


def tiled_attention(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None = None,
    scale: float | None = None,
    tile: tuple[int, int] = TILE,
    traffic: Traffic | None = None,
) -> Float[Tensor, "B H T D"]:
    """Attention tile by tile, with a backward pass that computes the weights anew (Chapter 6).

    Dao 2023, arXiv:2307.08691, algorithms 1 and 2.

    Args:
        q: Queries.
        k: Keys; G divides H.
        v: Values.
        mask: Which keys a query may see; None for all.
        scale: The factor of q · k; by default 1/√D.
        tile: How many queries and how many keys meet at a time.
        traffic: Where to count what moves; the backward pass counts there, too.

    Returns:
        A weighted mean of values for each query; 0 for a query that may see no key.

    Raises:
        ValueError: A side of the tile is less than 1.
    """
    if min(tile) < 1:
        raise ValueError(f"A tile needs at least 1 query and 1 key, but got tile = {tile}.")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return _TiledAttention.apply(q, k, v, mask, scale, tile, Traffic() if traffic is None else traffic)


def tiled(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B G S D"],
    v: Float[Tensor, "B G S D"],
    *,
    mask: Mask | None,
    scale: float | None,
) -> Float[Tensor, "B H T D"]:
    """:func:`tiled_attention` as a backend, its traffic uncounted."""
    return tiled_attention(q, k, v, mask=mask, scale=scale)


class _TiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: Mask | None,
        scale: float,
        tile: tuple[int, int],
        traffic: Traffic,
    ) -> Tensor:
        """Keep the output and, of each query, log Σ exp(score)."""
        wide = torch.promote_types(q.dtype, torch.float32)
        out, log_total = torch.zeros_like(q), torch.zeros_like(q[..., :1], dtype=wide)
        for step in walk(q, k, v, mask=mask, scale=scale, tile=tile, traffic=traffic):
            if step.last:
                nothing = step.total == 0
                total = step.total.masked_fill(nothing, 1)
                traffic.store(out[:, :, step.rows], step.weighted / total)
                logs = (step.highest + total.log()).masked_fill(nothing, 0)
                traffic.store(log_total[:, :, step.rows], logs)
        ctx.save_for_backward(q, k, v, out, log_total)
        ctx.options = mask, scale, tile, traffic
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> Any:
        """Each tile of keys meets the tiles of queries; the weights come from q, k and log Σ exp(score)."""
        q, k, v, out, log_total = ctx.saved_tensors
        mask, scale, tile, traffic = ctx.options
        wide = log_total.dtype
        dq, dk, dv = torch.zeros_like(q, dtype=wide), torch.zeros_like(k), torch.zeros_like(v)
        # Σ dout · out = Σ weight · dweight, which softmax's gradient needs.
        delta = torch.empty_like(log_total)
        for rows in _cut(q.shape[2], tile[0]):
            products = traffic.load(dout[:, :, rows], wide) * traffic.load(out[:, :, rows], wide)
            traffic.store(delta[:, :, rows], products.sum(-1, keepdim=True))
        for columns in _cut(k.shape[2], tile[1]):
            k_tile = _for_each_head(traffic.load(k[:, :, columns], wide), q)
            v_tile = _for_each_head(traffic.load(v[:, :, columns], wide), q)
            dk_tile, dv_tile = torch.zeros_like(k_tile), torch.zeros_like(v_tile)
            for rows in _cut(q.shape[2], tile[0]):
                allowed = _allowed(mask, q, rows, columns)
                if allowed is not None and not allowed.any():
                    continue
                q_tile, dout_tile, log_tile, delta_tile = (
                    traffic.load(x[:, :, rows], wide) for x in (q, dout, log_total, delta)
                )
                weights = (_hide(q_tile @ k_tile.mT * scale, allowed) - log_tile).exp()
                dv_tile += weights.mT @ dout_tile
                dscores = weights * (dout_tile @ v_tile.mT - delta_tile) * scale
                dk_tile += dscores.mT @ q_tile
                traffic.store(dq[:, :, rows], traffic.load(dq[:, :, rows]) + dscores @ k_tile)
            for whole, part in ((dk, dk_tile), (dv, dv_tile)):
                # The heads that share keys and values add up their gradients.
                traffic.store(whole[:, :, columns], part.unflatten(1, (k.shape[1], -1)).sum(2))
        return dq.to(q.dtype), dk, dv, None, None, None, None


def _cut(length: int, tile: int) -> list[slice]:
    return [slice(start, min(start + tile, length)) for start in range(0, length, tile)]


def _for_each_head(kv_tile: Tensor, q: Tensor) -> Tensor:
    """Keys or values in fast memory, repeated for the query heads that share them."""
    return kv_tile.repeat_interleave(q.shape[1] // kv_tile.shape[1], dim=1)


def _allowed(mask: Mask | None, q: Tensor, rows: slice, columns: slice) -> Tensor | None:
    """The mask over one tile, computed from positions."""
    if mask is None:
        return None
    b = torch.arange(q.shape[0], device=q.device).view(-1, 1, 1, 1)
    h = torch.arange(q.shape[1], device=q.device).view(-1, 1, 1)
    q_idx = torch.arange(rows.start, rows.stop, device=q.device).view(-1, 1)
    return mask.mask_mod(b, h, q_idx, torch.arange(columns.start, columns.stop, device=q.device))


def _hide(scores: Tensor, allowed: Tensor | None) -> Tensor:
    return scores if allowed is None or allowed.all() else scores.masked_fill(~allowed, -math.inf)
