"""The shape of a BART, with that of the published models (Chapter 10)."""

from dataclasses import dataclass, replace
from typing import Any

from llmlib.layers import ACTIVATIONS
from llmlib.models.config_checks import check_choices, check_heads, check_positive, check_whole

# layers of the encoder and of the decoder, width, heads. Lewis et al. 2019, arXiv:1910.13461, section 2.1, says the
# layers, and 1024 for the large model's width; the rest as in its published configurations.
_BART = {"bart-base": (6, 768, 12), "bart-large": (12, 1024, 16)}


@dataclass(frozen=True)
class BartConfig:
    """The shape of a :class:`~llmlib.models.bart.Bart` (Chapter 10). The defaults are those of BART base.

    Attributes:
        vocab_size: V.
        context: The longest sequence, in tokens, of source and target each: there are so many learned positions.
        width: C.
        layers: The layers of the encoder.
        decoder_layers: The layers of the decoder; None becomes as many.
        heads: H, which must divide C.
        hidden: The width inside the feed-forward layers; None for 4 · C.
        activation: One of :data:`~llmlib.layers.feed_forward.ACTIVATIONS`.
        eps: The eps of the layer norms.
        init_std: The standard deviation of the initial weights.

    Raises:
        ValueError: A number is not positive, heads do not divide the width, or the activation is unknown.
    """

    vocab_size: int = 50_265
    context: int = 1024
    width: int = 768
    layers: int = 6
    decoder_layers: int | None = None
    heads: int = 12
    hidden: int | None = None
    activation: str = "gelu"
    eps: float = 1e-5
    init_std: float = 0.02

    def __post_init__(self) -> None:
        whole = ("vocab_size", "context", "width", "layers", "decoder_layers", "heads", "hidden")
        check_whole(self, whole, optional=("decoder_layers", "hidden"))
        check_positive(self, ("eps", "init_std"))
        check_choices(self, {"activation": tuple(ACTIVATIONS)})
        check_heads(self.width, self.heads)
        if self.decoder_layers is None:
            object.__setattr__(self, "decoder_layers", self.layers)

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """The names that :meth:`preset` knows."""
        return tuple(_BART)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "BartConfig":
        """The shape of a published model.

        Args:
            name: ``"bart-base"`` or ``"bart-large"``.
            changes: Fields to set otherwise, such as ``context=128``.

        Raises:
            ValueError: There is no preset of that name.
        """
        if name not in _BART:
            raise ValueError(f"There is no preset {name!r}; there are {', '.join(cls.presets())}.")
        layers, width, heads = _BART[name]
        config = cls(layers=layers, decoder_layers=layers, width=width, heads=heads)
        return replace(config, **changes)
