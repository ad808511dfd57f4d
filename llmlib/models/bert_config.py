"""The shape of a BERT, with that of the published models (Chapter 10)."""

from dataclasses import dataclass, replace
from typing import Any

from llmlib.layers import ACTIVATIONS
from llmlib.models.config_checks import check_choices, check_heads, check_positive, check_whole

# layers, width, heads. Devlin et al. 2018, arXiv:1810.04805, section 3.
_BERT = {"bert-base": (12, 768, 12), "bert-large": (24, 1024, 16)}


@dataclass(frozen=True)
class BertConfig:
    """The shape of a :class:`~llmlib.models.bert.Bert` (Chapter 10). The defaults are those of BERT base, uncased.

    Attributes:
        vocab_size: V.
        context: The longest sequence, in tokens: there are so many learned positions.
        width: C.
        layers: L.
        heads: H, which must divide C.
        hidden: The width inside the feed-forward layers; None for 4 · C.
        token_types: How many kinds of token there are, each with a learned vector: 2 for pairs of sentences.
        activation: One of :data:`~llmlib.layers.feed_forward.ACTIVATIONS`.
        eps: The eps of the layer norms.
        init_std: The standard deviation of the initial weights.

    Raises:
        ValueError: A number is not positive, heads do not divide the width, or the activation is unknown.
    """

    vocab_size: int = 30_522
    context: int = 512
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int | None = None
    token_types: int = 2
    activation: str = "gelu"
    eps: float = 1e-12
    init_std: float = 0.02

    def __post_init__(self) -> None:
        whole = ("vocab_size", "context", "width", "layers", "heads", "hidden", "token_types")
        check_whole(self, whole, optional=("hidden",))
        check_positive(self, ("eps", "init_std"))
        check_choices(self, {"activation": tuple(ACTIVATIONS)})
        check_heads(self.width, self.heads)

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """The names that :meth:`preset` knows."""
        return tuple(_BERT)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "BertConfig":
        """The shape of a published model.

        Args:
            name: ``"bert-base"`` or ``"bert-large"``.
            changes: Fields to set otherwise, such as ``context=128``.

        Raises:
            ValueError: There is no preset of that name.
        """
        if name not in _BERT:
            raise ValueError(f"There is no preset {name!r}; there are {', '.join(cls.presets())}.")
        layers, width, heads = _BERT[name]
        return replace(cls(layers=layers, width=width, heads=heads), **changes)
