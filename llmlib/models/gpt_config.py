"""The shape of a GPT, with that of the published models (Chapter 3)."""

from dataclasses import dataclass, replace
from typing import Any

from llmlib.layers import ACTIVATIONS, NORM_PLACEMENTS

# layers, width, heads. Radford et al. 2019, "Language models are unsupervised multitask learners", table 2.
_GPT2 = {
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
    "gpt2-xl": (48, 1600, 25),
}

# Brown et al. 2020, arXiv:2005.14165, table 2.1. In two of its rows heads and head width do not multiply to
# the width: 2048 with 24 heads of 128, and 5140 with 40 heads of 128, are here 2048 with 16 and 5120 with 40.
_GPT3 = {
    "gpt3-125m": (12, 768, 12),
    "gpt3-350m": (24, 1024, 16),
    "gpt3-760m": (24, 1536, 16),
    "gpt3-1.3b": (24, 2048, 16),
    "gpt3-2.7b": (32, 2560, 32),
    "gpt3-6.7b": (32, 4096, 32),
    "gpt3-13b": (40, 5120, 40),
    "gpt3-175b": (96, 12288, 96),
}

# Zhang et al. 2022, arXiv:2205.01068, table 1, without its 350M model, which is built otherwise: Post-LN, and
# token vectors narrower than the stack.
_OPT = {
    "opt-125m": (12, 768, 12),
    "opt-1.3b": (24, 2048, 32),
    "opt-2.7b": (32, 2560, 32),
    "opt-6.7b": (32, 4096, 32),
    "opt-13b": (40, 5120, 40),
    "opt-30b": (48, 7168, 56),
    "opt-66b": (64, 9216, 72),
    "opt-175b": (96, 12288, 96),
}

_FAMILIES: tuple[tuple[dict[str, tuple[int, int, int]], dict[str, Any]], ...] = (
    (_GPT2, {"vocab_size": 50257, "context": 1024}),
    (_GPT3, {"vocab_size": 50257, "context": 2048}),
    (_OPT, {"vocab_size": 50272, "context": 2048, "activation": "relu"}),
)

_CHOICES = {
    "activation": tuple(ACTIVATIONS),
    "norm": NORM_PLACEMENTS,
    "positions": ("learned", "sinusoidal", "none"),
    "mask": ("causal", "full"),
}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a :class:`~llmlib.models.gpt.GPT` (Chapter 3). The defaults are those of the smallest GPT-2.

    Attributes:
        vocab_size: V.
        context: The longest sequence, in tokens. Only learned positions bind the model to it.
        width: C.
        layers: L.
        heads: H, which must divide C.
        hidden: The width inside the feed-forward layers; None for 4 · C.
        activation: ``"gelu_tanh"`` (GPT-2), ``"gelu"`` or ``"relu"`` (OPT).
        norm: Where normalisation stands, ``"pre"``, ``"post"`` or ``"normformer"``: see
            :class:`~llmlib.layers.blocks.Block`.
        positions: ``"learned"`` (GPT-2), ``"sinusoidal"`` (the first Transformer), or ``"none"``.
        mask: ``"causal"`` for a decoder, ``"full"`` for an encoder.
        tied: Whether the logits use the token vectors as their weights, which saves V · C parameters (Press
            and Wolf 2016, arXiv:1608.05859).
        eps: The eps of the layer norms.
        init_std: The standard deviation of the initial weights.

    Raises:
        ValueError: A number is not positive, heads do not divide the width, or a choice is unknown.
    """

    vocab_size: int = 50257
    context: int = 1024
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int | None = None
    activation: str = "gelu_tanh"
    norm: str = "pre"
    positions: str = "learned"
    mask: str = "causal"
    tied: bool = True
    eps: float = 1e-5
    init_std: float = 0.02

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "width", "layers", "heads", "hidden"):
            value = getattr(self, name)
            optional = name == "hidden" and value is None
            if not optional and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be a whole number of at least 1, but is {value!r}.")
        for name in ("eps", "init_std"):
            value = getattr(self, name)
            if not isinstance(value, float | int) or not value > 0:
                raise ValueError(f"{name} must be a number above 0, but is {value!r}.")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                offered = ", ".join(map(repr, choices))
                raise ValueError(f"{name} must be one of {offered}, but is {getattr(self, name)!r}.")
        if self.width % self.heads:
            raise ValueError(
                f"The width must be a multiple of the number of heads, but width = {self.width} and "
                f"heads = {self.heads}."
            )
        if self.positions == "sinusoidal" and self.width % 2:
            raise ValueError(f"Sinusoidal positions need an even width, but width = {self.width}.")

    @property
    def kv_heads(self) -> int:
        """G, the heads of keys and values: here each query head has its own."""
        return self.heads

    @property
    def head_width(self) -> int:
        """D."""
        return self.width // self.heads

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """The names that :meth:`preset` knows."""
        return tuple(name for shapes, _ in _FAMILIES for name in shapes)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "GPTConfig":
        """The shape of a published model.

        Args:
            name: One of :meth:`presets`: the GPT-2, GPT-3 and OPT families. The GPT-3 models attend densely
                here, where the originals alternate dense and banded layers.
            changes: Fields to set otherwise, such as ``context=256``.

        Raises:
            ValueError: There is no preset of that name.
        """
        for shapes, common in _FAMILIES:
            if name in shapes:
                layers, width, heads = shapes[name]
                return replace(cls(layers=layers, width=width, heads=heads, **common), **changes)
        raise ValueError(f"There is no preset {name!r}; there are {', '.join(cls.presets())}.")
