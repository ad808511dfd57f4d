"""The tokenizer playground of Chapter 1: type a text, see its pieces."""

from collections.abc import Mapping
from html import escape

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.tokenizer_spec import Tokenizer, compact, pieces_html

TEXT = "The tokenizer has never seen “unbelievableness”, and yet it reads it."

EXAMPLES = {
    "English": TEXT,
    "Chinese": "语言模型读到的不是字，而是词元。",
    "Emoji": "naïve café 😀 👩‍🔬 🇨🇭",
    "Code": "def area(radius):\n    return 3.14159 * radius ** 2\n",
    "Numbers": "1 + 1 = 2, 2048 * 2048 = 4194304",
    "Markup": "<img src=x onerror=\"alert('hello')\"> <|endoftext|>",
}


class TokenizerPlayground(LiveFigure):
    """A box to type in, and the pieces that each tokenizer makes of the text, at every key.

    The darker a piece, the more bytes it holds. A slider walks through the merges of byte-pair encoding, from single
    bytes to the final tokens. The algorithms run in the page (``tokenizing.js``) and give the ids of
    :mod:`llmlib.tokenizers`; special tokens in the text are ordinary text.

    Args:
        tokenizers: name to tokenizer, in the order of display.
        text: what the box holds at first.
        examples: name to text, for the buttons under the box.

    Attributes:
        text: what the box holds; changes as the reader types.
        steps: for a BPE tokenizer, how many merges of the text are shown; all where it has no entry.

    Raises:
        ValueError: there is no tokenizer, or the text is longer than ``max_characters``.
    """

    _esm = script("tokenizing.js", "pieces.js", "tokenizer_playground.js")
    _css = stylesheet("pieces.css", "tokenizer_playground.css")
    label = traitlets.Unicode("Tokenizer playground").tag(sync=True)
    tokenizers = traitlets.List(traitlets.Dict()).tag(sync=True)
    text = traitlets.Unicode().tag(sync=True)
    examples = traitlets.Dict().tag(sync=True)
    steps = traitlets.Dict().tag(sync=True)
    max_characters = traitlets.Int(20_000).tag(sync=True)

    def __init__(
        self,
        tokenizers: Mapping[str, Tokenizer],
        text: str = TEXT,
        examples: Mapping[str, str] = EXAMPLES,
    ) -> None:
        if not tokenizers:
            raise ValueError(
                'the playground needs at least one tokenizer: TokenizerPlayground({"BPE": tokenizer})'
            )
        specs = [{"name": name, **compact(tokenizer)} for name, tokenizer in tokenizers.items()]
        super().__init__(tokenizers=specs, text=text, examples=dict(examples))
        self._originals = dict(tokenizers)

    @traitlets.validate("text")
    def _check_text(self, proposal: dict[str, str]) -> str:
        if len(proposal["value"]) > self.max_characters:
            raise ValueError(
                f"the text has {len(proposal['value'])} characters; the figure takes {self.max_characters}: shorten it"
            )
        return proposal["value"]

    def still(self) -> str:
        """The text, and for each tokenizer its number of tokens and its pieces."""
        panels = []
        for name, tokenizer in self._originals.items():
            pieces = tokenizer.pieces(self.text)
            panels.append(
                f'<section class="panel"><p class="head"><strong>{escape(name)}</strong>'
                f'<span class="count">{len(pieces):,} tokens</span></p>{pieces_html(pieces)}</section>'
            )
        return f"<p>“{escape(self.text)}”</p>{''.join(panels)}"
