"""The walk of FlashAttention over the tiles of a small attention, step by step, for Chapter 6."""

from collections.abc import Sequence
from typing import Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet

SIZES = (1, 2, 4, 8, 16)
"""How many queries, and how many keys, a tile may have."""
LONGEST, WIDEST = 24, 4


class TileWalk(LiveFigure):
    """Scores that exist for one tile at a time, the running softmax of one query, and the bytes moved so far.

    Dao 2023, arXiv:2307.08691, algorithm 1, as :func:`llmlib.attention.tiled.walk` has it. The reader steps through
    the tiles, follows a query, and chooses the size of a tile. The bytes are compared with those of textbook
    attention, which writes and reads all pairs twice (:func:`llmlib.attention.cost.textbook`); numbers have 4 bytes.

    Args:
        q: queries, a row of D numbers each; at most 24 rows and D at most 4.
        k: keys, as many.
        v: values, as many.
        rows: queries of a tile; 1, 2, 4, 8 or 16.
        columns: keys of a tile; 1, 2, 4, 8 or 16.
        causal: whether a query sees no later key.
        query: which query is followed, counted from 0.
        step: after how many tiles.

    Attributes:
        rows: changes as the reader chooses, as do all below.
        columns: see above.
        causal: see above.
        query: see above.
        step: see above.

    Raises:
        ValueError: the vectors are not of one shape or hold no finite numbers, or a setting is out of range.
    """

    _esm = script("tile_walk.js")
    _css = stylesheet("tile_walk.css")
    label = traitlets.Unicode("Tile by tile").tag(sync=True)
    scores: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    values: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    sizes = traitlets.List(traitlets.Int(), list(SIZES)).tag(sync=True)
    causal = traitlets.Bool(False).tag(sync=True)
    rows = traitlets.Int().tag(sync=True)
    columns = traitlets.Int().tag(sync=True)
    query = traitlets.Int().tag(sync=True)
    step = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        q: Sequence[Sequence[float]],
        k: Sequence[Sequence[float]],
        v: Sequence[Sequence[float]],
        *,
        rows: int = 4,
        columns: int = 4,
        causal: bool = False,
        query: int = 5,
        step: int = 0,
    ) -> None:
        import torch

        queries, keys, values = (torch.as_tensor(x, dtype=torch.float64) for x in (q, k, v))
        shape = tuple(queries.shape)
        if not (queries.shape == keys.shape == values.shape and queries.dim() == 2 and min(shape) >= 1):
            raise ValueError(
                f"q, k and v must have one shape (n, D), not {shape}, {tuple(keys.shape)} and {tuple(values.shape)}"
            )
        if shape[0] > LONGEST or shape[1] > WIDEST:
            raise ValueError(
                f"n must be at most {LONGEST} and D at most {WIDEST}, not {shape[0]} and {shape[1]}"
            )
        if not all(x.isfinite().all() for x in (queries, keys, values)):
            raise ValueError("q, k and v must hold finite numbers only")
        self._qkv = [x.float()[None, None] for x in (queries, keys, values)]
        super().__init__(
            scores=(queries @ keys.T / shape[1] ** 0.5).tolist(),
            values=values.tolist(),
            rows=rows,
            columns=columns,
            causal=causal,
            query=query,
            step=step,
        )

    @traitlets.validate("rows", "columns")
    def _check_size(self, proposal: dict[str, Any]) -> int:
        if proposal["value"] not in SIZES:
            name = proposal["trait"].name
            raise ValueError(f"{name} must be one of {', '.join(map(str, SIZES))}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("query")
    def _check_query(self, proposal: dict[str, Any]) -> int:
        if not 0 <= proposal["value"] < len(self.scores):
            raise ValueError(f"query must be from 0 to {len(self.scores) - 1}, not {proposal['value']}")
        return proposal["value"]

    @traitlets.validate("step")
    def _check_step(self, proposal: dict[str, Any]) -> int:
        most = len(self.scores) ** 2
        if not 0 <= proposal["value"] <= most:
            raise ValueError(f"step must be from 0 to the number of tiles, not {proposal['value']}")
        return proposal["value"]

    def still(self) -> str:
        """The bytes of the whole walk beside textbook attention's, and the output of the query that is followed."""
        from llmlib.attention import cost, masks
        from llmlib.attention.tiled import Traffic, tiled_attention

        (n, width), traffic = self._qkv[0].shape[2:], Traffic()
        mask = masks.causal() if self.causal else None
        out = tiled_attention(*self._qkv, mask=mask, tile=(self.rows, self.columns), traffic=traffic)
        output = ", ".join(f"{x:.3f}" for x in out[0, 0, self.query].tolist())
        return (
            f"<p>{n} queries and {n} keys, in tiles of {self.rows} by {self.columns}. Tile by tile, "
            f"{traffic.read + traffic.written:,} bytes move; for textbook attention, "
            f"{cost.textbook(n, width, 4).bytes:,}. The output of query {self.query + 1} is ({output}) either way.</p>"
        )
