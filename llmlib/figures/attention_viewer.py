"""Attention weights of a trained model on a sentence, for Chapter 3: which token takes how much from which."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.tokenizer_spec import visible

if TYPE_CHECKING:
    from torch import nn

MAX_TOKENS = 48


class Tokenizer(Protocol):
    """What the figure asks of a tokenizer of :mod:`llmlib.tokenizers`."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def pieces(self, text: str) -> Sequence[str | bytes]:
        """The pieces that belong to them."""


class AttentionViewer(LiveFigure):
    """The attention weights of each layer and head on a sentence, as a heat map and behind its tokens.

    A row of the heat map is a token that takes (a query), a column one that it takes from (a key); a row sums to 1.
    The shade grows with the square root of the weight, so that small weights show. The page has the sentences that
    Python computed beforehand. In JupyterLab there is also a box to type in: the text goes to Python, which runs the
    model as it is then.

    Weights reach the page as whole numbers of 16 bits, 0 for 0 and 65,535 for 1: the error is below 0.001 percentage
    points, and a sentence of T tokens costs 2 · L · H · T² bytes.

    Args:
        model: any model that takes token ids (B, T) and holds
            :class:`~llmlib.layers.attention.MultiHeadAttention` layers, each with as many heads as the others.
        tokenizer: the tokenizer that the model was trained with.
        sentences: texts to choose from, of at most 48 tokens each.
        sentence: index of the one that is shown first.
        layer: index of the layer, from 0; the page counts from 1.
        head: index of the head, from 0; the page counts from 1.

    Attributes:
        sentence: index of the sentence; one more than the last is what the reader typed.
        layer: index of the layer.
        head: index of the head.
        token: index of the token whose row is in words; the last token where there is none of that index.
        text: what the reader types in JupyterLab.

    Raises:
        TypeError: ``sentences`` is one string.
        ValueError: there is no sentence, one has no token or more than 48, an index is out of range, or the model
            shows no weights that the figure can draw.
    """

    _esm = script("pieces.js", "own_text.js", "attention_map.js", "attention_viewer.js")
    _css = stylesheet("pieces.css", "attention_viewer.css")
    label = traitlets.Unicode("Attention weights").tag(sync=True)
    layers = traitlets.Int().tag(sync=True)
    heads = traitlets.Int().tag(sync=True)
    sentences = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tokens = traitlets.List(traitlets.List()).tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    sentence = traitlets.Int(0).tag(sync=True)
    layer = traitlets.Int(0).tag(sync=True)
    head = traitlets.Int(0).tag(sync=True)
    token = traitlets.Int(-1).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    typed_tokens: traitlets.List[Any] = traitlets.List().tag(sync=True)
    typed_weights = traitlets.Bytes().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        model: "nn.Module",
        tokenizer: Tokenizer,
        sentences: Sequence[str],
        *,
        sentence: int = 0,
        layer: int = 0,
        head: int = 0,
    ) -> None:
        if isinstance(sentences, str):
            raise TypeError("sentences must be a list of texts, not one text: write [text]")
        if not sentences:
            raise ValueError("the viewer needs at least one sentence to show")
        self._model, self._tokenizer = model, tokenizer
        readings = [_read(model, tokenizer, text) for text in sentences]
        layers, heads, *_ = readings[0][1].shape
        super().__init__(
            layers=layers,
            heads=heads,
            sentences=[text.encode("utf-8", "replace").decode() for text in sentences],
            tokens=[tokens for tokens, _ in readings],
            weights=b"".join(weights.tobytes() for _, weights in readings),
            sentence=sentence,
            layer=layer,
            head=head,
        )

    @traitlets.validate("sentence", "layer", "head")
    def _check_index(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        count = {
            "sentence": len(self.sentences) + bool(self.typed_tokens),
            "layer": self.layers,
            "head": self.heads,
        }[name]
        if not 0 <= value < count:
            raise ValueError(f"{name} must be 0 to {count - 1}, not {value}")
        return value

    @traitlets.observe("text")
    def _read_text(self, change: dict[str, str]) -> None:
        if not change["new"]:
            self.problem = ""
            return
        try:
            tokens, weights = _read(self._model, self._tokenizer, change["new"])
        except ValueError as error:
            self.problem = str(error)
            return
        with self.hold_sync():
            self.typed_tokens, self.typed_weights = tokens, weights.tobytes()
            self.sentence, self.token, self.problem = len(self.sentences), -1, ""

    def _shown(self) -> tuple[list[Any], npt.NDArray[np.float64]]:
        """The tokens of the chosen sentence, and the weights of the chosen layer and head, (T, T)."""
        typed = self.sentence == len(self.sentences)
        tokens = self.typed_tokens if typed else self.tokens[self.sentence]
        before = 0 if typed else sum(len(other) ** 2 for other in self.tokens[: self.sentence])
        start = self.layers * self.heads * before + (self.layer * self.heads + self.head) * len(tokens) ** 2
        numbers = np.frombuffer(self.typed_weights if typed else self.weights, "<u2")
        shape = (len(tokens), len(tokens))
        return tokens, numbers[start : start + len(tokens) ** 2].reshape(shape) / 65535

    def still(self) -> str:
        """The sentence with the shares of the chosen token, and the heat map."""
        tokens, weights = self._shown()
        words = [visible(token if isinstance(token, str) else bytes(token)) for token in tokens]
        row = self.token if 0 <= self.token < len(words) else len(words) - 1
        boxes = "".join(
            f'<bdi class="piece" style="--depth:{share**0.5:.3f}">{escape(word)}</bdi>'
            f"<small>{100 * share:.0f} %</small> "
            for word, share in zip(words, weights[row], strict=True)
        )
        return (
            f"<p>Layer {self.layer + 1} of {self.layers}, head {self.head + 1} of {self.heads}: "
            f"how much token {row + 1} (“<bdi>{escape(words[row])}</bdi>”) takes from each token</p>"
            f'<div class="pieces">{boxes}</div>{_map_html(words, weights)}'
        )


def _read(
    model: "nn.Module", tokenizer: Tokenizer, text: str
) -> tuple[list[str | list[int]], npt.NDArray[np.uint16]]:
    """Run the model on a text.

    Returns:
        The tokens, each as text or, where its bytes make no whole characters, as a list of bytes; and the weights of
        all layers and heads, (L, H, T, T), 65,535 for 1.
    """
    import torch

    from llmlib.layers import capture
    from llmlib.models.inference import device_of, evaluating

    ids = tokenizer.encode(text)
    if not 1 <= len(ids) <= MAX_TOKENS:
        raise ValueError(
            f"the figure shows 1 to {MAX_TOKENS} tokens, but “{text[:40]}{'…' * (len(text) > 40)}” has "
            f"{len(ids)}: take a {'shorter' if ids else 'longer'} sentence"
        )
    with evaluating(model), capture(model) as seen:
        model(torch.tensor([ids], device=device_of(model)))
    shapes = [tuple(weights.shape) for weights in seen.attention]
    expected = (1, shapes[0][1] if shapes else 0, len(ids), len(ids))
    if not shapes or set(shapes) != {expected}:
        raise ValueError(
            "the figure shows models with MultiHeadAttention layers of equally many heads, in which a sequence attends "
            f"to itself, but {type(model).__name__} has attention weights of the shapes {shapes}"
        )
    weights = torch.cat(seen.attention).double().cpu().numpy()
    if not np.isfinite(weights).all():
        raise ValueError("the attention weights are not finite: has the training of this model diverged?")
    tokens = [_as_json(piece) for piece in tokenizer.pieces(text)]
    return tokens, (weights * 65535).round().astype("<u2")


def _as_json(piece: str | bytes) -> str | list[int]:
    if isinstance(piece, str):
        return piece
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def _map_html(words: list[str], weights: npt.NDArray[np.float64]) -> str:
    """The heat map as SVG, ten units a cell."""
    labels = [escape(word if len(word) < 14 else word[:12] + "…") for word in words]
    rows = "".join(
        f'<text x="-3" y="{10 * i + 7}" text-anchor="end">{label}</text>' for i, label in enumerate(labels)
    )
    columns = "".join(
        f'<text transform="translate({10 * i + 7} -3) rotate(-90)">{label}</text>'
        for i, label in enumerate(labels)
    )
    cells = "".join(
        f'<rect x="{10 * key}" y="{10 * query}" width="10" height="10" opacity="{share**0.5:.2f}"/>'
        for (query, key), share in np.ndenumerate(weights)
        if share > 0.0001
    )
    margin = 5 + 4 * min(14, max(map(len, words)))
    side = 10 * len(words)
    box = f"{-margin} {-margin} {side + margin + 1} {side + margin + 1}"
    return (
        f'<svg class="attention-map" viewBox="{box}" style="width: {2.4 * (side + margin):.0f}px" font-size="6.5" '
        f'role="img" aria-label="Heat map of {len(words)} by {len(words)} weights">'
        f'<rect class="frame" x="0" y="0" width="{side}" height="{side}"/>{cells}{rows}{columns}</svg>'
    )
