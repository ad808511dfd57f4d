"""The LoRA explorer of Chapter 12: what a rank costs in models of several sizes, and what it keeps of an update."""

from collections.abc import Sequence
from html import escape
from typing import Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

MODELS = ("llama-7b", "llama-65b", "gpt3-175b")
"""Presets of ``LlamaConfig`` or ``GPTConfig`` that are offered."""
TARGETS = {
    "query, value": ("query", "value"),
    "all of attention": ("query", "key", "value", "out"),
    "all layers": ("query", "key", "value", "out", "gate", "up", "down"),
}
"""Which linear layers of each block are adapted."""
RANKS = (1, 256)


class LoRAExplorer(LiveFigure):
    """Model, layers and rank: the numbers that LoRA learns, its file, and the singular values it can hold (Chapter 12).

    Args:
        singular_values: those of the change of a weight in full fine-tuning, the largest first.
        models: presets to choose from.
        rank: r at first, a power of two from 1 to 256.

    Attributes:
        model: the index of the model shown; changes as the reader chooses, as do the others.
        targets: the layers that are adapted, a name of :data:`TARGETS`.
        rank: see above.

    Raises:
        ValueError: a preset is unknown, the rank is out of range, or the singular values do not fall to 0 or above.
    """

    _esm = script("chart.js", "lora_explorer.js")
    _css = stylesheet("chart.css", "lora_explorer.css")
    label = traitlets.Unicode("What a rank costs and keeps").tag(sync=True)
    models: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    groups = traitlets.Dict({name: list(layers) for name, layers in TARGETS.items()}).tag(sync=True)
    values: "traitlets.List[float]" = traitlets.List(traitlets.Float()).tag(sync=True)
    model = traitlets.Int(0).tag(sync=True)
    targets = traitlets.Unicode(next(iter(TARGETS))).tag(sync=True)
    rank = traitlets.Int().tag(sync=True)

    def __init__(
        self, singular_values: Sequence[float], models: Sequence[str] = MODELS, *, rank: int = 8
    ) -> None:
        values = [float(value) for value in singular_values]
        if not values or values != sorted(values, reverse=True) or values[-1] < 0 or not values[0] > 0:
            raise ValueError(f"singular values fall, from above 0 to 0 at least, but got {values[:4]} …")
        super().__init__(models=[_shape(name) for name in models], values=values, rank=rank)

    @traitlets.validate("rank")
    def _check_rank(self, proposal: dict[str, int]) -> int:
        value, (low, high) = proposal["value"], RANKS
        if not low <= value <= high or value & (value - 1):
            raise ValueError(f"rank must be a power of two from {low} to {high}, not {value}")
        return value

    @traitlets.validate("targets")
    def _check_targets(self, proposal: dict[str, str]) -> str:
        if proposal["value"] not in TARGETS:
            raise ValueError(f"targets must be one of {', '.join(TARGETS)}, not {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("model")
    def _check_model(self, proposal: dict[str, int]) -> int:
        if not 0 <= proposal["value"] < len(self.models):
            raise ValueError(
                f"model must be the index of one of {len(self.models)} models, not {proposal['value']}"
            )
        return proposal["value"]

    def still(self) -> str:
        """A table of what the rank at first costs in each model."""
        rows = ""
        for model in self.models:
            learnt = sum(
                self.rank * sum(model["layers"][name])
                for name in TARGETS[self.targets]
                if name in model["layers"]
            )
            rows += (
                f"<tr><th>{escape(model['name'])}</th><td>{model['blocks'] * learnt / 1e6:,.1f}</td>"
                f"<td>{model['blocks'] * learnt / model['parameters']:.3%}</td></tr>"
            )
        return (
            f"<table><caption>LoRA of rank {self.rank} on {self.targets}</caption><tr><th>Model</th>"
            f"<th>Million parameters learnt</th><th>Of the model</th></tr>{rows}</table>"
        )


def _shape(name: str) -> dict[str, Any]:
    """The sides of each linear layer of a block, by name, and how many blocks there are."""
    import torch

    from llmlib.models import GPT, GPTConfig, Llama, LlamaConfig

    if name in LlamaConfig.presets():
        config: Any = LlamaConfig.preset(name)
        kind: Any = Llama
        queries, keys = config.heads * config.head_width, config.kv_heads * config.head_width
        wide = (config.width, config.hidden)
        layers = {
            "query": (config.width, queries),
            "key": (config.width, keys),
            "value": (config.width, keys),
        }
        layers |= {"out": (queries, config.width), "gate": wide, "up": wide, "down": wide}
    else:
        config, kind = GPTConfig.preset(name), GPT
        square, wide = (config.width, config.width), (config.width, 4 * config.width)
        layers = dict.fromkeys(("query", "key", "value", "out"), square) | dict.fromkeys(("up", "down"), wide)
    with torch.device("meta"):  # counts the parameters, and takes no memory
        parameters = kind(config).num_parameters()
    sides = {layer: list(shape) for layer, shape in layers.items()}
    return {"name": name, "parameters": parameters, "blocks": config.layers, "layers": sides}
