"""The cache calculator of Chapter 7: how much memory keys and values take, and what fits into a GPU."""

from collections.abc import Sequence
from html import escape
from typing import Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

MODELS = ("llama-7b", "llama-2-70b", "llama-3-8b", "llama-3-70b")
"""Presets of ``LlamaConfig`` that are offered."""
MEMORIES = (24, 80, 141)
"""Memories of GPUs, in GiB."""
DTYPES = {"float32": 4, "bfloat16": 2, "int8": 1}
"""Bytes of a number."""


class CacheCalculator(LiveFigure):
    """Model, length, texts at once, key/value heads and dtype: the bytes of the cache, against memories (Chapter 7).

    Weights and cache have the same dtype. What else a program needs of memory is left out.

    Args:
        models: presets of ``LlamaConfig`` to choose from.
        model: the index of the one that is shown first.
        length: tokens of each text, a power of two from 128 to 1,048,576.
        batch: texts at once, a power of two from 1 to 256.
        dtype: one of :data:`DTYPES`.

    Attributes:
        model: see above; changes as the reader chooses, as do all others.
        length: see above.
        batch: see above.
        dtype: see above.
        kv_heads: G, which divides H; at first that of the model.

    Raises:
        ValueError: a preset is unknown, or a setting is out of range.
    """

    _esm = script("cache_calculator.js")
    _css = stylesheet("cache_calculator.css")
    label = traitlets.Unicode("Cache calculator").tag(sync=True)
    models = traitlets.List(traitlets.Dict()).tag(sync=True)
    memories = traitlets.List(traitlets.Int(), list(MEMORIES)).tag(sync=True)
    model = traitlets.Int().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    batch = traitlets.Int().tag(sync=True)
    dtype = traitlets.Unicode().tag(sync=True)
    kv_heads = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        models: Sequence[str] = MODELS,
        *,
        model: int = 0,
        length: int = 4096,
        batch: int = 1,
        dtype: str = "bfloat16",
    ) -> None:
        if not 0 <= model < len(models):
            raise ValueError(f"model must be the index of one of the {len(models)} models, not {model}")
        shapes = [_shape(name) for name in models]
        super().__init__(
            models=shapes,
            model=model,
            length=length,
            batch=batch,
            dtype=dtype,
            kv_heads=shapes[model]["kv_heads"],
        )

    @traitlets.validate("length", "batch")
    def _check_power(self, proposal: dict[str, Any]) -> int:
        value, name = proposal["value"], proposal["trait"].name
        low, high = {"length": (128, 2**20), "batch": (1, 256)}[name]
        if not low <= value <= high or value & (value - 1):
            raise ValueError(f"{name} must be a power of two from {low} to {high:,}, not {value}")
        return value

    @traitlets.validate("dtype")
    def _check_dtype(self, proposal: dict[str, str]) -> str:
        if proposal["value"] not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("kv_heads")
    def _check_heads(self, proposal: dict[str, int]) -> int:
        heads = self.models[self.model]["heads"]
        if proposal["value"] < 1 or heads % proposal["value"]:
            raise ValueError(f"kv_heads must divide the {heads} heads, not be {proposal['value']}")
        return proposal["value"]

    def still(self) -> str:
        """The size of the cache with the present settings, in words."""
        shape, size = self.models[self.model], DTYPES[self.dtype]
        layers, head_width = shape["layers"], shape["head_width"]
        texts = f"{self.batch:,} text{'s' if self.batch > 1 else ''}"
        total = 2 * layers * self.batch * self.length * self.kv_heads * head_width * size
        return (
            f"<p>{escape(shape['name'])}, {texts} of {self.length:,} tokens in {self.dtype}: 2 · {layers} "
            f"layers · {texts} · {self.length:,} tokens · {self.kv_heads} heads · {head_width} numbers · "
            f"{size} bytes = {total / 2**30:.2f} GiB of cache, beside {shape['parameters'] * size / 2**30:.2f} GiB of "
            "weights.</p>"
        )


def _shape(name: str) -> dict[str, Any]:
    import torch

    from llmlib.models import Llama, LlamaConfig

    config = LlamaConfig.preset(name)
    with torch.device("meta"):  # counts the parameters, and takes no memory
        parameters = Llama(config).num_parameters()
    fields = {field: getattr(config, field) for field in ("layers", "heads", "kv_heads", "head_width")}
    return {"name": name, "parameters": parameters, **fields}
