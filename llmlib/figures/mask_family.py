"""The mask family of Chapter 3: encoder, decoder, prefix, encoder–decoder are one attention under different masks."""

from typing import TYPE_CHECKING, Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("encoder", "decoder", "prefix", "encoder-decoder")
LONGEST = 20


class MaskFamily(LiveFigure):
    """Which keys each query may see, in the four kinds of Transformer: grids that the reader changes.

    An encoder sees everything (Devlin et al. 2018, arXiv:1810.04805), a decoder no later position (Vaswani et al. 2017,
    arXiv:1706.03762, section 3.2.3), a prefix model the whole prefix and then no later position (Raffel et al. 2020,
    arXiv:1910.10683, section 3.2.1), and an encoder–decoder has three patterns: of its encoder, of its decoder, and of
    the decoder's queries over the encoder's keys. The page computes the patterns itself; they are those of
    :mod:`llmlib.attention.masks`.

    Args:
        length: T, the positions of the sequence, which an encoder–decoder writes: 1 to 20.
        kind: ``"encoder"``, ``"decoder"``, ``"prefix"`` or ``"encoder-decoder"``.
        prefix: positions of the prefix, at most ``length``; a third of it where it is None.
        source: S, the positions that an encoder–decoder reads: 1 to 20.

    Attributes:
        length: T; changes, as the three below do, with what the reader chooses.
        kind: which Transformer is shown.
        prefix: the length of the prefix.
        source: S.

    Raises:
        ValueError: there is no such kind, a length is not 1 to 20, or the prefix is longer than the sequence.
    """

    _esm = script("row_list.js", "mask_grid.js", "mask_family.js")
    _css = stylesheet("mask_family.css")
    label = traitlets.Unicode("The mask family").tag(sync=True)
    kind = traitlets.Unicode("decoder").tag(sync=True)
    length = traitlets.Int(10).tag(sync=True)
    prefix = traitlets.Int(3).tag(sync=True)
    source = traitlets.Int(7).tag(sync=True)
    longest = traitlets.Int(LONGEST).tag(sync=True)

    def __init__(
        self, length: int = 10, kind: str = "decoder", *, prefix: int | None = None, source: int = 7
    ) -> None:
        super().__init__(
            length=length, kind=kind, prefix=length // 3 if prefix is None else prefix, source=source
        )

    @traitlets.validate("kind")
    def _check_kind(self, proposal: dict[str, str]) -> str:
        if proposal["value"] not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, not {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("length", "source")
    def _check_length(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        if not 1 <= value <= LONGEST:
            raise ValueError(f"{name} must be 1 to {LONGEST}, so that the grid can be read, not {value}")
        if name == "length" and value < self.prefix:
            raise ValueError(f"length {value} is less than the prefix of {self.prefix}: shorten that first")
        return value

    @traitlets.validate("prefix")
    def _check_prefix(self, proposal: dict[str, int]) -> int:
        if not 0 <= proposal["value"] <= self.length:
            raise ValueError(f"prefix must be 0 to {self.length} (the length), not {proposal['value']}")
        return proposal["value"]

    def still(self) -> str:
        """The patterns as grids, with the number of pairs that each keeps."""
        grids = "".join(grid_html(name, pattern) for name, pattern in self._patterns().items())
        return f'<p class="muted">A row for each query, a column for each key.</p><div class="patterns">{grids}</div>'

    def _patterns(self) -> "dict[str, Tensor]":
        """The name of each pattern, and whether a query (row) sees a key (column), (T, S)."""
        from llmlib.attention import masks

        if self.kind == "encoder":
            return {"Encoder": masks.full().dense(self.length)}
        if self.kind == "decoder":
            return {"Decoder": masks.causal().dense(self.length)}
        if self.kind == "prefix":
            return {"Prefix": masks.prefix(self.prefix).dense(self.length)}
        return {
            "Encoder": masks.full().dense(self.source),
            "Decoder": masks.causal().dense(self.length),
            "Cross": masks.full().dense(self.length, self.source),
        }


def grid_html(name: str, pattern: "Tensor") -> str:
    """A grid in the markup of mask_grid.js, but with nothing to point at."""
    queries, keys = pattern.shape
    kept = int(pattern.sum())
    head = "".join(f"<span>{key}</span>" for key in range(1, keys + 1))
    cell = {True: '<i class="sees"></i>', False: "<i></i>"}
    rows = "".join(
        f'<div class="mask-row"><span>{query}</span>{"".join(cell[sees] for sees in row)}</div>'
        for query, row in enumerate(pattern.tolist(), start=1)
    )
    return (
        f'<section class="pattern" style="--keys: {keys}"><p><strong>{name}</strong></p>'
        f'<p class="muted">{kept} of {queries * keys} pairs ({100 * kept / (queries * keys):.0f} %)</p>'
        f'<div class="mask-row"><span></span>{head}</div>{rows}</section>'
    )
