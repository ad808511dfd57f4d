"""The cache of a window that slides: its size does not grow with the text (Chapter 7)."""

from typing import Any

import torch
from torch import Tensor

from llmlib.attention import Mask, masks
from llmlib.generation.cache import CachedLayer, StaticCache, end_with_the_context, up_to


class SlidingWindowCache(StaticCache):
    """Places for the last W tokens: the newest takes the place of the oldest, in a ring (Chapter 7).

    Memory and time of a token are then the same however long the text is. What a token sees is a window: itself and the
    W − 1 tokens before, in every layer; what flows up through L layers comes from L · (W − 1) tokens back (Beltagy et
    al. 2020, arXiv:2004.05150, section 3.1; Jiang et al. 2023, arXiv:2310.06825, section 2, "Rolling Buffer Cache").
    A model that was trained without a window reads worse with one.

    Args:
        shape: L, G and D: the configuration of the model.
        batch: B.
        capacity: W.
        device: Where it is kept.
        dtype: Of its numbers.

    Raises:
        ValueError: ``batch`` or ``capacity`` is below 1.
    """

    @classmethod
    def _check_positions(cls, config: Any, capacity: int) -> None:
        if end_with_the_context(config):
            raise ValueError(
                "A sliding window lets a text go on without end, but the positions of this model end with its context "
                f"of {config.context} tokens: take a StaticCache."
            )

    def check(self, batch: int, more: int) -> None:
        """Refuse a call of another batch; there is always room.

        Raises:
            ValueError: So it is.
        """
        self._check_batch(batch)

    def has_room(self, length: int) -> bool:
        """Always."""
        return True

    def extend(self, layer: CachedLayer, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Mask]:
        """What :meth:`CachedLayer.extend` does."""
        more, window = k.shape[2], self.capacity
        places = self.positions(more)
        if more == 1:  # the ring, once it is written, holds just what the token may see
            layer.write(places.expand(self.batch, 1) % window, k, v)
            if isinstance(self.length, int):
                filled = min(self.length + 1, window)
                return layer.keys[:, :, :filled], layer.values[:, :, :filled], masks.full()
            return layer.keys, layer.values, up_to(places)
        slots = torch.arange(window, device=k.device)
        before = places[..., :1] - 1  # the last token in the ring
        # The token in each slot; negative where there is none.
        held = slots + (before - slots) // window * window
        at = torch.cat([held, places], dim=-1).expand(self.batch, -1)  # (B, W + T)
        now = places.expand(self.batch, -1)  # (B, T)

        def visible(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
            token, reader = at[b, kv_idx], now[b, q_idx]
            return (token >= 0) & (token <= reader) & (token > reader - window)

        seen = torch.cat([layer.keys, k], dim=2), torch.cat([layer.values, v], dim=2)
        kept = slice(max(more - window, 0), more)
        layer.write(now[:, kept] % window, k[:, :, kept], v[:, :, kept])
        return (*seen, Mask(visible, f"window({window})"))
