"""What stands in this blank? For Chapter 10: the candidates of several models for each token of a sentence."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.tokenizer_spec import visible

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MAX_TOKENS = 40


class Tokenizer(Protocol):
    """What the figure asks of a tokenizer of :mod:`llmlib.tokenizers`."""

    def encode(self, text: str) -> list[int]:
        """The token ids of a text."""

    def pieces(self, text: str) -> Sequence[str]:
        """The pieces that belong to them."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of token ids."""


class Filler(Protocol):
    """What the figure asks of a model, such as :meth:`llmlib.generation.cloze.Cloze.blank`."""

    def __call__(self, ids: "Tensor", place: int) -> "Float[Tensor, 'B V']":
        """The log-probabilities of the token at a place of texts (B, T), which is hidden from the model."""


class BlankFiller(LiveFigure):
    """Candidates for a token that the reader hides, by several models, as bars.

    The page has the sentences whose blanks Python filled beforehand, each token in turn. In JupyterLab there is also a
    box to type in: the text goes to Python, which asks the models as they are then.

    Args:
        fillers: each model by its name, with what it sees in words, such as ``{"BERT, both sides": cloze.blank}``.
        tokenizer: the tokenizer that the models were trained with.
        sentences: texts to choose from, of 2 to 40 tokens each.
        top: how many candidates each model has, at least 1.
        sentence: index of the one that is shown first.
        token: index of the token that is hidden first.

    Attributes:
        names: the names of the models.
        blanks: for each sentence and token the candidates of each model, with their probabilities, and the rank of the
            token that is hidden, from 1.
        sentence: index of the sentence; one more than the last is what the reader typed.
        token: index of the token that is hidden; the last one where there is none of that index.
        text: what the reader types in JupyterLab.

    Raises:
        TypeError: ``sentences`` is one string.
        ValueError: there is no model or sentence, one has too few or too many tokens, or an index is out of range.
    """

    _esm = script("pieces.js", "own_text.js", "blank_filler.js")
    _css = stylesheet("pieces.css", "blank_filler.css")
    label = traitlets.Unicode("Fill in the blank").tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    sentences = traitlets.List(traitlets.Unicode()).tag(sync=True)
    tokens = traitlets.List(traitlets.List()).tag(sync=True)
    blanks = traitlets.List(traitlets.List()).tag(sync=True)
    sentence = traitlets.Int(0).tag(sync=True)
    token = traitlets.Int(-1).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    typed_tokens: traitlets.List[Any] = traitlets.List().tag(sync=True)
    typed_blanks: traitlets.List[Any] = traitlets.List().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        fillers: Mapping[str, Filler],
        tokenizer: Tokenizer,
        sentences: Sequence[str],
        *,
        top: int = 5,
        sentence: int = 0,
        token: int = -1,
    ) -> None:
        if isinstance(sentences, str):
            raise TypeError("sentences must be a list of texts, not one text: write [text]")
        if not sentences or not fillers:
            raise ValueError("the figure needs at least one sentence and one model")
        if top < 1:
            raise ValueError(f"top must be at least 1, not {top}")
        self._fillers, self._tokenizer, self._top = dict(fillers), tokenizer, top
        read = [self._read(text) for text in sentences]
        super().__init__(
            names=list(fillers),
            sentences=[text.encode("utf-8", "replace").decode() for text in sentences],
            tokens=[tokens for tokens, _ in read],
            blanks=[blanks for _, blanks in read],
            sentence=sentence,
            token=token,
        )

    @traitlets.validate("sentence")
    def _check_sentence(self, proposal: dict[str, Any]) -> int:
        count = len(self.sentences) + bool(self.typed_tokens)
        if not 0 <= proposal["value"] < count:
            raise ValueError(f"sentence must be 0 to {count - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.observe("text")
    def _read_text(self, change: dict[str, str]) -> None:
        if not change["new"]:
            self.problem = ""
            return
        try:
            tokens, blanks = self._read(change["new"])
        except ValueError as error:
            self.problem = str(error)
            return
        with self.hold_sync():
            self.typed_tokens, self.typed_blanks = tokens, blanks
            self.sentence, self.token, self.problem = len(self.sentences), -1, ""

    def _read(self, text: str) -> tuple[list[str], list[Any]]:
        """The pieces of a text, and for each what every model would put there."""
        import torch

        ids = self._tokenizer.encode(text)
        if not 2 <= len(ids) <= MAX_TOKENS:
            raise ValueError(
                f"the figure shows 2 to {MAX_TOKENS} tokens, but “{text[:40]}{'…' * (len(text) > 40)}” has {len(ids)}: "
                f"take a {'longer' if len(ids) < 2 else 'shorter'} sentence"
            )
        rows = torch.tensor([ids])
        blanks = []
        for place, token in enumerate(ids):
            answers = []
            for filler in self._fillers.values():
                shares = filler(rows, place)[0].exp()
                values, found = (part.tolist() for part in shares.topk(min(self._top, len(shares))))
                rank = int((shares > shares[token]).sum()) + 1
                best = [
                    [self._tokenizer.decode([i]), round(v, 4)] for i, v in zip(found, values, strict=True)
                ]
                answers.append({"best": best, "rank": rank})
            blanks.append(answers)
        return [str(piece) for piece in self._tokenizer.pieces(text)], blanks

    def still(self) -> str:
        """The sentence with its blank, and each model's candidates."""
        typed = self.sentence == len(self.sentences)
        tokens = self.typed_tokens if typed else self.tokens[self.sentence]
        blanks = self.typed_blanks if typed else self.blanks[self.sentence]
        hidden = self.token if 0 <= self.token < len(tokens) else len(tokens) - 1
        boxes = "".join(
            f'<bdi class="piece{" hidden-token" * (place == hidden)}" style="--depth:0">{escape(visible(token))}</bdi>'
            for place, token in enumerate(tokens)
        )
        tables = "".join(
            f"<section><p><strong>{escape(name)}</strong></p><ol>"
            + "".join(f"<li>{escape(word)} <small>{100 * p:.1f} %</small></li>" for word, p in answer["best"])
            + f'</ol><p class="muted">the hidden token: number {answer["rank"]}</p></section>'
            for name, answer in zip(self.names, blanks[hidden], strict=True)
        )
        return f'<div class="pieces">{boxes}</div><div class="fillers">{tables}</div>'
