"""The cache of keys and values: what a decoder has computed need not be computed again (Chapter 7).

Old tokens do not change when a new one follows: in a causal model nothing flows backwards. All that the new token needs
of them are their keys and values, in every layer. A cache keeps them, in memory that is reserved once:

- :class:`StaticCache` has a place for every token;
- :class:`~llmlib.generation.sliding_window.SlidingWindowCache` has W places, and the
  newest token takes that of the oldest.

>>> cache = StaticCache.for_model(model, batch=1, capacity=512)
>>> logits = model(prompt, cache=cache)[:, -1]  # (B, V): reads the prompt
>>> logits = model(token, cache=cache)[:, -1]  # reads one token more
"""

from typing import Any, Protocol, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmlib.attention import Mask, masks
from llmlib.layers import DynamicScaling


class Shape(Protocol):
    """What a cache must know of a model; ``GPTConfig`` and ``LlamaConfig`` say it."""

    @property
    def layers(self) -> int:
        """L."""

    @property
    def kv_heads(self) -> int | None:
        """G."""

    @property
    def head_width(self) -> int | None:
        """D."""


def cache_bytes(
    shape: Shape, *, batch: int = 1, length: int, dtype: torch.dtype | int = torch.bfloat16
) -> int:
    """The size of a cache in bytes: 2 · L · B · T · G · D · bytes of a number (Chapter 7).

    Two for keys and values. G, not H: query heads that share their keys and values share them here, too (Shazeer 2019,
    arXiv:1911.02150, section 3; Ainslie et al. 2023, arXiv:2305.13245, section 2.2).

    >>> cache_bytes(LlamaConfig.preset("llama-3-8b"), length=8192) / 2**30
    1.0

    Args:
        shape: L, G and D: a ``LlamaConfig``, a ``GPTConfig``, or anything with ``layers``, ``kv_heads`` and
            ``head_width``.
        batch: B.
        length: T, or for a sliding window W.
        dtype: Of the numbers, or how many bytes each takes.

    Raises:
        ValueError: ``batch`` is below 1, or ``length`` below 0.
    """
    if batch < 1 or length < 0:
        raise ValueError(f"Expected batch ≥ 1 and length ≥ 0, but got batch = {batch}, length = {length}.")
    size = dtype if isinstance(dtype, int) else dtype.itemsize
    return 2 * shape.layers * batch * length * (shape.kv_heads or 0) * (shape.head_width or 0) * size


class StaticCache:
    """A place for the keys and values of every token, up to a number of tokens that is fixed beforehand (Chapter 7).

    Nothing is moved and nothing is reserved anew as a text grows: one token more is one row written.

    Args:
        shape: L, G and D: the configuration of the model.
        batch: B.
        capacity: How many tokens of each sequence there is room for.
        device: Where it is kept: where the model is.
        dtype: Of its numbers: that of the model's keys.

    Attributes:
        layers: The part of each layer.
        length: How many tokens it holds: a number while all sequences are equally long, else a tensor (B). With a
            tensor, no shape depends on the length, as CUDA graphs and ``torch.compile`` like it.

    Raises:
        ValueError: ``batch`` or ``capacity`` is below 1.
    """

    def __init__(
        self,
        shape: Shape,
        batch: int,
        capacity: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if batch < 1 or capacity < 1:
            raise ValueError(
                f"A cache needs room for 1 sequence of 1 token at least, but batch = {batch}, capacity = {capacity}."
            )
        size = (batch, shape.kv_heads or 0, capacity, shape.head_width or 0)
        memory = torch.zeros(shape.layers, 2, *size, device=device, dtype=dtype)
        self.layers = [CachedLayer(self, keys, values) for keys, values in memory]
        self.batch, self.capacity = batch, capacity
        self.length: int | Tensor = 0

    @classmethod
    def for_model(cls, model: nn.Module, batch: int, capacity: int) -> Self:
        """An empty cache for a model: of its shape, where it is, in its dtype.

        Args:
            model: A GPT or a Llama.
            batch: B.
            capacity: How many tokens of each sequence there is room for; W of a sliding window.

        Raises:
            TypeError: The model's configuration does not say what a cache needs.
            ValueError: The model cannot go so far: its learned positions end before, or its dynamic RoPE would turn
                the old keys anew.
        """
        config = shape_of(model)
        if config is None:
            raise TypeError(
                f"{type(model).__name__} takes no cache: it needs a causal model whose config has layers, kv_heads "
                "and head_width, such as GPT or Llama."
            )
        cls._check_positions(config, capacity)
        weight = next(model.parameters())
        return cls(config, batch, capacity, device=weight.device, dtype=weight.dtype)

    @classmethod
    def _check_positions(cls, config: Any, capacity: int) -> None:
        if capacity > config.context and end_with_the_context(config):
            raise ValueError(
                f"The positions of this model end with its context of {config.context} tokens, but capacity = "
                f"{capacity}."
            )

    @property
    def nbytes(self) -> int:
        """How much memory it takes, which is what :func:`cache_bytes` says."""
        return sum(2 * layer.keys.nbytes for layer in self.layers)

    def check(self, batch: int, more: int) -> None:
        """Refuse a call of another batch, or with more tokens than there is room for.

        Raises:
            ValueError: So it is.
        """
        self._check_batch(batch)
        if isinstance(self.length, int) and self.length + more > self.capacity:
            raise ValueError(
                f"The cache has room for {self.capacity} tokens and holds {self.length}, so {more} more do not fit: "
                "make it with a larger capacity, or take a SlidingWindowCache."
            )

    def _check_batch(self, batch: int) -> None:
        if batch != self.batch:
            raise ValueError(f"The cache holds {self.batch} sequences, but ids have {batch}.")

    def has_room(self, length: int) -> bool:
        """Whether a text of so many tokens fits."""
        return length <= self.capacity

    def positions(self, more: int) -> Int[Tensor, "... T"]:
        """Where the next T tokens stand: (T), or (B, T) where sequences differ."""
        steps = torch.arange(more, device=self.layers[0].keys.device)
        return steps + (self.length if isinstance(self.length, int) else self.length[:, None])

    def advance(self, more: int) -> None:
        """Count T tokens that all layers now hold."""
        self.length = self.length + more

    def select(self, rows: Int[Tensor, " B"]) -> None:
        """Make sequence ``rows[b]`` the new sequence b."""
        for layer in self.layers:
            layer.keys.copy_(layer.keys[rows])
            layer.values.copy_(layer.values[rows])
        if isinstance(self.length, Tensor):
            self.length = self.length[rows]

    def row(self, b: int) -> Self:
        """The cache of sequence ``b`` alone, in the same memory, and empty.

        So sequences of different lengths are read one by one; then ``length`` is set to the tensor of their lengths,
        and they go on together.
        """
        alone = object.__new__(type(self))
        alone.layers = [
            CachedLayer(alone, layer.keys[b : b + 1], layer.values[b : b + 1]) for layer in self.layers
        ]
        alone.batch, alone.capacity, alone.length = 1, self.capacity, 0
        return alone

    def extend(self, layer: "CachedLayer", k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Mask]:
        """What :meth:`CachedLayer.extend` does."""
        more, length = k.shape[2], self.length
        if isinstance(length, int):
            end = length + more
            layer.keys[:, :, length:end] = k
            layer.values[:, :, length:end] = v
            if length == 0:
                return k, v, masks.causal()
            seen = layer.keys[:, :, :end], layer.values[:, :, :end]
            return (*seen, masks.full()) if more == 1 else (*seen, up_to(self.positions(more)))
        places = self.positions(more)  # (B, T)
        layer.write(places, k, v)
        return layer.keys, layer.values, up_to(places)


class CachedLayer:
    """The keys and values of one layer, in the memory of a cache.

    Args:
        cache: The cache.
        keys: Its keys in this layer, (B, G, S, D).
        values: Its values.
    """

    def __init__(self, cache: StaticCache, keys: Tensor, values: Tensor) -> None:
        self.cache, self.keys, self.values = cache, keys, values

    def extend(
        self, k: Float[Tensor, "B G T D"], v: Float[Tensor, "B G T D"]
    ) -> tuple[Float[Tensor, "B G S D"], Float[Tensor, "B G S D"], Mask]:
        """Keep the keys and values of T more tokens; return all that these tokens may meet, and the mask."""
        # A cache is for writing, and lives longer than one graph of gradients: none flows through it.
        return self.cache.extend(self, k.detach(), v.detach())

    def write(self, places: Int[Tensor, "B T"], k: Tensor, v: Tensor) -> None:
        """Write each token to its place, which may differ between sequences."""
        rows = torch.arange(len(places), device=places.device)[:, None]
        self.keys[rows, :, places] = k.transpose(1, 2)  # (B, T, G, D)
        self.values[rows, :, places] = v.transpose(1, 2)


def up_to(places: Int[Tensor, "... T"]) -> Mask:
    """Each query sees the places up to its own."""
    if places.dim() == 1:
        return Mask(lambda b, h, q_idx, kv_idx: kv_idx <= places[q_idx], "up to its place")
    return Mask(lambda b, h, q_idx, kv_idx: kv_idx <= places[b, q_idx], "up to its place")


def end_with_the_context(config: Any) -> bool:
    """Learned positions do, and dynamic RoPE, which beyond it would have to turn the old keys anew."""
    learned = getattr(config, "positions", None) == "learned"
    return learned or isinstance(getattr(config, "rope_scaling", None), DynamicScaling)


def shape_of(model: object) -> Any:
    """The configuration of a model that takes a cache, else None."""
    config = getattr(model, "config", None)
    known = all(hasattr(config, name) for name in ("layers", "kv_heads", "head_width"))
    return config if known and getattr(config, "mask", "causal") == "causal" else None
