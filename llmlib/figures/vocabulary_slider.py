"""Vocabulary size against compression, for Chapter 1: one list of merges gives a tokenizer of every size."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from html import escape

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.palette import LIGHT
from llmlib.figures.tokenizer_spec import compact, pieces_html
from llmlib.tokenizers.bpe import BPETokenizer

SENTENCE = "The tokenizer has never seen “unbelievableness”, and yet it reads it."


class VocabularySlider(LiveFigure):
    """A slider for the size of a BPE vocabulary: the compression of several texts, one sentence, the embedding's cost.

    BPE learns its merges one by one, so the tokenizer of a smaller vocabulary is the same list cut short. Python
    encodes the texts at some sizes beforehand; the sentence is encoded in the page.

    Args:
        tokenizer: the largest tokenizer.
        texts: name to text, for example English and Chinese; a few hundred kB are enough.
        sentence: what is shown piece by piece.
        sizes: vocabulary sizes to stop at; four for each doubling where it is None.
        size: the size at first; the middle one where it is None.
        width: width C of a model, for the number of parameters V × C of its token embedding.

    Attributes:
        sizes: the sizes, in ascending order.
        curves: for each text, its bytes per token at each size.
        size: the size that is shown; changes as the reader moves the slider.

    Raises:
        ValueError: there are no texts or too many, one is empty, or a size is one that the tokenizer never had.
    """

    _esm = script("tokenizing.js", "pieces.js", "vocabulary_slider.js")
    _css = stylesheet("pieces.css", "vocabulary_slider.css")
    label = traitlets.Unicode("Vocabulary size and compression").tag(sync=True)
    tokenizer = traitlets.Dict().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    sizes = traitlets.List(traitlets.Int()).tag(sync=True)
    merges = traitlets.List(traitlets.Int()).tag(sync=True)
    curves = traitlets.Dict().tag(sync=True)
    width = traitlets.Int().tag(sync=True)
    size = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        tokenizer: BPETokenizer,
        texts: Mapping[str, str],
        *,
        sentence: str = SENTENCE,
        sizes: Sequence[int] | None = None,
        size: int | None = None,
        width: int = 768,
    ) -> None:
        if not 0 < len(texts) <= len(LIGHT.series) or not all(texts.values()):
            raise ValueError(
                f"texts must hold one to {len(LIGHT.series)} texts, none of them empty: {list(texts)}"
            )
        spec = compact(tokenizer)
        prefixes = _Prefixes(tokenizer, spec["merges"])
        stops = prefixes.stops() if sizes is None else sorted(set(sizes))
        shorter = [prefixes.tokenizer(stop) for stop in stops]
        super().__init__(
            tokenizer=spec,
            sentence=sentence,
            sizes=stops,
            merges=[prefixes.number_of_merges(stop) for stop in stops],
            curves={
                name: [len(text.encode("utf-8", "surrogatepass")) / len(one.encode(text)) for one in shorter]
                for name, text in texts.items()
            },
            width=width,
            size=stops[len(stops) // 2] if size is None else size,
        )
        self._prefixes = prefixes

    @traitlets.validate("size")
    def _check_size(self, proposal: dict[str, int]) -> int:
        if proposal["value"] not in self.sizes:
            raise ValueError(f"size must be one of {self.sizes}, not {proposal['value']}")
        return proposal["value"]

    def still(self) -> str:
        """A table of the curves, and the sentence at the size that is shown."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.curves)
        rows = "".join(
            f"<tr><th>{size:,}</th>{''.join(f'<td>{ratio:.2f}</td>' for ratio in ratios)}</tr>"
            for size, *ratios in zip(self.sizes, *self.curves.values(), strict=True)
        )
        pieces = self._prefixes.tokenizer(self.size).pieces(self.sentence)
        return (
            f'<table class="curves"><caption>Bytes per token</caption><tr><th>Vocabulary</th>{head}</tr>{rows}</table>'
            f"<p>At a vocabulary of {self.size:,}, {len(pieces)} tokens:</p>{pieces_html(pieces)}"
        )


class _Prefixes:
    """The tokenizers that training would have given, had it stopped at a smaller vocabulary."""

    def __init__(self, tokenizer: BPETokenizer, merges: Sequence[int]) -> None:
        self._full = tokenizer
        self._merges = list(zip(merges[::2], merges[1::2], strict=True))
        ids = {token: token_id for token_id, token in enumerate(tokenizer.vocab)}
        made = [ids[tokenizer.vocab[left] + tokenizer.vocab[right]] for left, right in self._merges]
        # Two merges can make one token, so there may be more merges than new tokens.
        self._sizes = [tokenizer.vocab_size - len(set(made))]
        seen: set[int] = set()
        for token_id in made:
            self._sizes.append(self._sizes[-1] + (token_id not in seen))
            seen.add(token_id)

    def stops(self) -> list[int]:
        """The sizes without merges and with all of them, and between them four for each doubling."""
        least, most = self._sizes[0], self._sizes[-1]
        between = (
            2**power * quarters // 4 for power in range(8, most.bit_length()) for quarters in range(4, 8)
        )
        return [least, *(size for size in between if least < size < most), *([most] if most > least else [])]

    def number_of_merges(self, size: int) -> int:
        """How many merges had been learned when the vocabulary reached a size."""
        if not self._sizes[0] <= size <= self._sizes[-1]:
            raise ValueError(
                f"a vocabulary of {size} is not between {self._sizes[0]} and {self._sizes[-1]} tokens"
            )
        return bisect_left(self._sizes, size)

    def tokenizer(self, size: int) -> BPETokenizer:
        """The tokenizer of a size; the ids of its tokens are those of the full one."""
        merges = self._merges[: self.number_of_merges(size)]
        return BPETokenizer(self._full.vocab, merges, self._full.special_tokens)
