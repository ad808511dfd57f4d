"""How many parameters a Transformer has, and how many FLOPs its training takes, by calculation (Chapter 9).

A product of matrices (m, k) and (k, n) takes 2 m k n FLOPs: a multiplication and an addition for each term. Nothing
else in a Transformer comes near that, so nothing else is counted: not norms, activations, softmax or the look-up of
token vectors. The backward pass takes two such products for each of the forward pass, one for the gradient of either
factor, so training takes three times the FLOPs of the forward pass.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parameters:
    """The parameters of a model by part (Chapter 9).

    Attributes:
        embedding: Token vectors, and learned positions if it has them.
        attention: Queries, keys, values and output of all layers.
        feed_forward: The feed-forward layers.
        norms: Gains and biases of the norms.
        unembedding: The weights of the logits; 0 if they are the token vectors.
    """

    embedding: int
    attention: int
    feed_forward: int
    norms: int
    unembedding: int

    @property
    def total(self) -> int:
        """All parameters, each counted once."""
        return self.non_embedding + self.embedding + self.unembedding

    @property
    def non_embedding(self) -> int:
        """The N of Kaplan et al. 2020, arXiv:2001.08361: without embedding and unembedding."""
        return self.attention + self.feed_forward + self.norms


@dataclass(frozen=True)
class Flops:
    """The FLOPs of a forward pass by part, for each token (Chapter 9).

    Attributes:
        projections: Queries, keys, values and output of all layers.
        scores: Queries times keys, and attention weights times values.
        feed_forward: The feed-forward layers.
        logits: The product with the unembedding.
    """

    projections: float
    scores: float
    feed_forward: float
    logits: float

    @property
    def forward(self) -> float:
        """FLOPs of the forward pass for each token."""
        return self.projections + self.scores + self.feed_forward + self.logits

    @property
    def training(self) -> float:
        """FLOPs of forward and backward pass for each token."""
        return 3 * self.forward


@dataclass(frozen=True)
class Shape:
    """What decides the size and the cost of a Transformer (Chapter 9).

    Attributes:
        vocab_size: V.
        width: C.
        layers: L.
        heads: H.
        kv_heads: G; None for H.
        head_width: D; None for C / H.
        hidden: The width inside the feed-forward layers; None for 4 · C.
        gated: Whether a feed-forward layer has three matrices, as in LLaMA, and not two, as in GPT.
        biases: Whether linear layers and norms have biases, as in GPT.
        positions: The number of learned positions; 0 without them.
        tied: Whether the logits use the token vectors as their weights.

    Raises:
        ValueError: A number is not a whole number in its bounds, or heads do not divide the width.
    """

    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int | None = None
    head_width: int | None = None
    hidden: int | None = None
    gated: bool = True
    biases: bool = False
    positions: int = 0
    tied: bool = False

    def __post_init__(self) -> None:
        if self.head_width is None and self.heads and self.width % self.heads:
            raise ValueError(
                f"The width must be a multiple of the number of heads, but width = {self.width} and heads = "
                f"{self.heads}: change one, or give a head_width."
            )
        for name, derived in (
            ("kv_heads", self.heads),
            ("head_width", self.width // (self.heads or 1)),
            ("hidden", 4 * self.width),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, derived)
        least = dict.fromkeys(
            ("vocab_size", "width", "layers", "heads", "kv_heads", "head_width", "hidden"), 1
        )
        for name, smallest in {**least, "positions": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < smallest:
                raise ValueError(f"{name} must be a whole number of at least {smallest}, but is {value!r}.")

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """The shape that a configuration describes.

        Args:
            config: A ``LlamaConfig``, a ``GPTConfig``, or any object with their fields. One that says what its
                ``positions`` are is taken for a GPT: with biases, and with ``context`` learned positions if they
                are ``"learned"``. Another is taken for a LLaMA: gated, with ``kv_heads`` of ``head_width``.

        Raises:
            TypeError: A field is missing.
        """
        try:
            common = {name: getattr(config, name) for name in ("vocab_size", "width", "layers", "heads")}
            common |= {name: getattr(config, name) for name in ("hidden", "tied")}
            if not hasattr(config, "positions"):
                return cls(**common, kv_heads=config.kv_heads, head_width=config.head_width)
            positions = config.context if config.positions == "learned" else 0
            return cls(**common, gated=False, biases=True, positions=positions)
        except AttributeError as error:
            raise TypeError(
                f"{config!r} does not describe a Transformer: {error}. Give a LlamaConfig or a GPTConfig, or make "
                "a Shape of plain numbers."
            ) from None

    @property
    def _attention(self) -> int:
        """Weights of queries and output, keys and values in a layer."""
        return 2 * self.width * self.head_width * (self.heads + self.kv_heads)  # type: ignore[operator]

    @property
    def _feed_forward(self) -> int:
        """Weights of a feed-forward layer."""
        return (3 if self.gated else 2) * self.width * self.hidden  # type: ignore[operator]

    def parameters(self) -> Parameters:
        """The parameters of each part."""
        attention, feed_forward = self._attention, self._feed_forward
        if self.biases:
            attention += (self.heads + 2 * self.kv_heads) * self.head_width + self.width  # type: ignore[operator]
            feed_forward += (2 if self.gated else 1) * self.hidden + self.width  # type: ignore[operator]
        return Parameters(
            embedding=(self.vocab_size + self.positions) * self.width,
            attention=self.layers * attention,
            feed_forward=self.layers * feed_forward,
            norms=(2 * self.layers + 1) * self.width * (2 if self.biases else 1),
            unembedding=0 if self.tied else self.vocab_size * self.width,
        )

    def flops(self, context: int, *, causal: bool = False) -> Flops:
        """The FLOPs for each token of sequences of ``context`` tokens.

        Args:
            context: T, in tokens.
            causal: Whether to count only the pairs of positions that a causal mask lets through, (T + 1) / 2 for
                each token on average. Else all T are counted, as Hoffmann et al. 2022, arXiv:2203.15556, appendix
                F, and PyTorch's ``FlopCounterMode`` count.

        Raises:
            ValueError: ``context`` is not a positive whole number.
        """
        if not isinstance(context, int) or isinstance(context, bool) or context < 1:
            raise ValueError(f"context must be a whole number of at least 1, but is {context!r}.")
        keys = (context + 1) / 2 if causal else context
        return Flops(
            projections=2.0 * self.layers * self._attention,
            scores=4.0 * self.layers * self.heads * self.head_width * keys,  # type: ignore[operator]
            feed_forward=2.0 * self.layers * self._feed_forward,
            logits=2.0 * self.vocab_size * self.width,
        )


def training_flops(config: Any, tokens: float, context: int, *, causal: bool = False) -> float:
    """C, the FLOPs of training on ``tokens`` tokens, counted product by product (Chapter 9).

    Args:
        config: A :class:`Shape`, or a configuration as :meth:`Shape.of` takes it.
        tokens: D, the tokens seen in training; a text that is read twice counts twice.
        context: T, the tokens of a sequence.
        causal: See :meth:`Shape.flops`.

    Raises:
        ValueError: ``tokens`` is not positive.
        TypeError: ``config`` does not describe a Transformer.
    """
    if not 0 < tokens < float("inf"):
        raise ValueError(f"tokens must be a number above 0, but is {tokens!r}.")
    shape = config if isinstance(config, Shape) else Shape.of(config)
    return shape.flops(context, causal=causal).training * tokens
