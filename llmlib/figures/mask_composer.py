"""The mask composer of Chapter 5: kinds of sparse attention put together, what they cost and what they connect."""

from typing import TYPE_CHECKING, Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

if TYPE_CHECKING:
    from torch import Tensor

    from llmlib.attention import Mask

_RANGES = {
    "window": (0, 8),
    "dilation": (1, 4),
    "globals": (0, 4),
    "random": (0, 4),
    "block": (1, 8),
    "layers": (1, 8),
}
_SEED = 0


class MaskComposer(LiveFigure):
    """A mask that the reader puts together from a window, global tokens, random blocks and blocks of its own.

    The figure shows the pattern over a short sequence, how many pairs it keeps, of how many positions each has heard
    after L layers, and how the memory of the scores grows with the length, up to a million positions. The kinds, and
    Star-Transformer, Longformer and BigBird as compositions of them, are those of :mod:`llmlib.attention.masks`.

    Args:
        window: positions that a query sees on each side, 0 to 8.
        dilation: the step from one of them to the next, 1 to 4.
        globals: positions at the start that see all and are seen by all, 0 to 4.
        random: random blocks for each block of queries, 0 to 4.
        local: whether a query sees the block it is in.
        block: length of a block, 1 to 8.
        causal: whether a query sees no later position.
        layers: L, 1 to 8.

    Attributes:
        length: T, the positions that are drawn.

    Raises:
        ValueError: a number is out of its range.
    """

    _esm = script("chart.js", "row_list.js", "mask_composer.js")
    _css = stylesheet("chart.css", "mask_composer.css")
    label = traitlets.Unicode("The mask composer").tag(sync=True)
    window = traitlets.Int(2).tag(sync=True)
    dilation = traitlets.Int(1).tag(sync=True)
    globals = traitlets.Int(0).tag(sync=True)
    random = traitlets.Int(0).tag(sync=True)
    local = traitlets.Bool(False).tag(sync=True)
    block = traitlets.Int(4).tag(sync=True)
    causal = traitlets.Bool(False).tag(sync=True)
    layers = traitlets.Int(2).tag(sync=True)
    length = traitlets.Int(32).tag(sync=True)
    coefficients = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        window: int = 2,
        *,
        dilation: int = 1,
        globals: int = 0,  # noqa: A002
        random: int = 0,
        local: bool = False,
        block: int = 4,
        causal: bool = False,
        layers: int = 2,
    ) -> None:
        from llmlib.attention.kinds import polynomial

        super().__init__(
            window=window,
            dilation=dilation,
            globals=globals,
            random=random,
            local=local,
            block=block,
            causal=causal,
            layers=layers,
            coefficients=polynomial(_SEED),
        )

    @traitlets.validate(*_RANGES)
    def _check(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = _RANGES[name]
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, not {value}")
        return value

    def mask(self, length: int | None = None) -> "Mask":
        """The mask that is shown.

        Args:
            length: of the sequence that it is for, which decides between how many random blocks there is to choose; by
                default that of the figure.
        """
        from llmlib.attention import masks

        length = self.length if length is None else length
        mask = masks.dilated(self.window, self.dilation) | masks.global_tokens(self.globals)
        mask |= masks.random_blocks(self.random, self.block, _SEED, length=None if self.causal else length)
        if self.local:
            mask |= masks.block_local(self.block)
        return mask & masks.causal() if self.causal else mask

    def still(self) -> str:
        """The pattern, the pairs that it keeps and how far it reaches."""
        from llmlib.attention.reach import reachable

        sees = self.mask().dense(self.length)
        known = reachable(self.mask(), self.length, self.layers)[-1]
        kept, pairs = int(sees.sum()), self.length**2
        return (
            f"<p>{kept:,} of {pairs:,} pairs are kept ({100 * kept / pairs:.0f} %). After {self.layers} "
            f"layer{'' if self.layers == 1 else 's'} a position knows of {known.sum() / self.length:.1f} of "
            f"{self.length} on average.</p>"
            f'<p class="muted">A row for each query, a column for each key.</p>'
            f'<div class="composer-pattern" style="--keys: {self.length}">{_grid(sees, known)}</div>'
        )


def _grid(sees: "Tensor", known: "Tensor") -> str:
    """A grid in the markup of mask_composer.js, but with nothing to point at."""
    cell = {
        (True, True): '<i class="sees"></i>',
        (False, True): '<i class="heard"></i>',
        (False, False): "<i></i>",
    }
    return "".join(
        '<div class="composer-row">'
        + "".join(cell[here, heard] for here, heard in zip(*rows, strict=True))
        + "</div>"
        for rows in zip(sees.tolist(), (known | sees).tolist(), strict=True)
    )
