"""Which blocks of a mask hold something: lists from which attention can leave out all the others (Chapter 5)."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from llmlib.attention.spans import Span, Verdict

PAIRS_AT_ONCE = 2**22  # what is looked at together: pairs of blocks, and pairs of positions
FULL = -1


@dataclass(frozen=True, eq=False)
class BlockLists:
    """The kept blocks of a mask, row by row, as in a sparse matrix in CSR form (Chapter 5).

    A row is a block of queries, and its entries are the blocks of keys of which it needs something; in the
    transposed lists it is the other way round. A *full* block may be seen whole. A *partial* one has a pattern;
    blocks that look alike share it, so that a band of any length needs only a few. In each row the full blocks
    come first, and both kinds go up.

    Rows are counted through the sequences and heads: the row of sequence b, head h and block i is
    ``((b % B') * H' + h % H') * N + i`` where ``counts`` has the shape (B', H', N). B' is 1 for a mask that is the
    same for all sequences, and H' is 1 for one that is the same for all heads.

    Attributes:
        lengths: (T, S), how many queries and keys there are; (S, T) in the transposed lists.
        size: How many queries and how many keys a block has, or the other way round. The last may be shorter.
        offsets: Where the entries of each row begin, and behind the last one where they end.
        columns: The entries: a block of keys (of queries in the transposed lists).
        pattern: For each entry the number of its pattern, or -1 where the block is full.
        full: How many of the entries of each row are full.
        counts: How many entries each row has.
        patterns: True where the query (row) may see the key (column), never so for a key behind the last one.
            Rows of queries behind the last one mean nothing.
    """

    lengths: tuple[int, int]
    size: tuple[int, int]
    offsets: Int[Tensor, " rows_plus_1"]
    columns: Int[Tensor, " entries"]
    pattern: Int[Tensor, " entries"]
    full: Int[Tensor, "b h N"]
    counts: Int[Tensor, "b h N"]
    patterns: Bool[Tensor, "kinds q_block kv_block"]

    @property
    def kept(self) -> int:
        """How many blocks are kept, full or partial, over all rows."""
        return len(self.columns)

    @property
    def share(self) -> float:
        """The kept part of all blocks, from 0 to 1."""
        return self.kept / max(1, self.counts.numel() * -(-self.lengths[1] // self.size[1]))

    @property
    def pairs(self) -> int:
        """How many pairs of a query and a key the mask keeps."""
        q_block, kv_block = self.size
        row = self.rows() % max(1, self.counts.shape[2])
        # In the block of queries; the last may be shorter.
        queries = (self.lengths[0] - row * q_block).clamp(max=q_block)
        up_to = self.patterns.sum(2).cumsum(1)  # the pairs of a pattern in its first queries
        whole = self.pattern == FULL
        partial = self.pattern[~whole].long()
        return int(queries[whole].sum() * kv_block + up_to[partial, queries[~whole] - 1].sum())

    def rows(self) -> Int[Tensor, " entries"]:
        """The row of each entry."""
        return torch.repeat_interleave(self.counts.flatten().long())

    @functools.cached_property
    def transposed(self) -> "BlockLists":
        """The same blocks listed for each block of keys: the queries that see it. The backward pass needs them.

        The patterns stay as they are, with a row for each query.
        """
        batch, heads, here = self.counts.shape
        there = -(-self.lengths[1] // self.size[1])
        sequence_and_head, row = self.rows() // max(1, here), self.rows() % max(1, here)
        return _lists(
            self.lengths[::-1],
            self.size[::-1],
            (batch, heads, there),
            sequence_and_head * there + self.columns,
            row,
            self.pattern.long(),
            self.patterns,
        )


def find_blocks(
    predicate: Callable[..., Any],
    lengths: tuple[int, int],
    size: tuple[int, int],
    outer: tuple[int, int],
    device: torch.device | str | None,
) -> BlockLists:
    """List the blocks of which a mask keeps something (Chapter 5).

    First the predicate is asked about whole blocks (:mod:`llmlib.attention.spans`). The pairs of a block are
    looked at only where that leaves a doubt, some blocks at a time, so that the memory needed does not grow as T · S.
    A predicate that cannot be asked about blocks, as one that looks up a table, is asked about all pairs.

    Args:
        predicate: The rule ``(b, h, q_idx, kv_idx)``.
        lengths: (T, S).
        size: How many queries and how many keys a block has.
        outer: (B', H'), the sequences and heads that the mask tells apart.
        device: Where the lists are made.
    """
    (T, S), (q_block, kv_block), (batch, heads) = lengths, size, outer  # noqa: N806
    q_blocks, kv_blocks = -(-T // q_block), -(-S // kv_block)
    columns = torch.arange(kv_blocks, device=device)
    last_key = (columns + 1) * kv_block - 1
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    seen: dict[bytes, int] = {}
    for row in torch.arange(batch * heads * q_blocks, device=device).split(
        max(1, PAIRS_AT_ONCE // 8 // max(1, kv_blocks))
    ):
        b, h, first_query = row // (heads * q_blocks), row // q_blocks % heads, row % q_blocks * q_block
        verdict = _ask(
            predicate,
            b[:, None],
            h[:, None],
            Span(first_query[:, None], (first_query[:, None] + q_block - 1).clamp(max=T - 1)),
            Span(columns * kv_block, last_key.clamp(max=S - 1)),
        )
        possible = verdict.possible.expand(len(row), kv_blocks)
        certain = verdict.certain.expand(len(row), kv_blocks) & (last_key < S)
        at, column = certain.nonzero(as_tuple=True)
        found.append((row[at], column, torch.full_like(at, FULL)))
        doubtful = (possible & ~certain).nonzero()
        for at, column in (
            part.unbind(1) for part in doubtful.split(max(1, PAIRS_AT_ONCE // (q_block * kv_block)))
        ):
            query = first_query[at, None, None] + torch.arange(q_block, device=device)[:, None]
            key = column[:, None, None] * kv_block + torch.arange(kv_block, device=device)
            allowed = predicate(
                b[at, None, None], h[at, None, None], query.clamp(max=T - 1), key.clamp(max=S - 1)
            )
            allowed = allowed.expand(len(at), q_block, kv_block) & (key < S)
            some, every = allowed.flatten(1).any(1), allowed.flatten(1).all(1)
            pattern = torch.full_like(at, FULL)
            partial = some & ~every
            pattern[partial] = _number(allowed[partial], seen)
            found.append((row[at[some]], column[some], pattern[some]))
    rows, entries, pattern = (
        torch.cat([torch.zeros(0, dtype=torch.long, device=device), *parts])
        for parts in (zip(*found, strict=True) if found else ((), (), ()))
    )
    packed = np.frombuffer(b"".join(seen), np.uint8).reshape(len(seen), -(-q_block * kv_block // 8))
    bits = np.unpackbits(packed, axis=1, count=q_block * kv_block).reshape(-1, q_block, kv_block)
    shape = (batch, heads, q_blocks)
    return _lists(lengths, size, shape, rows, entries, pattern, torch.from_numpy(bits).bool().to(device))


def _ask(predicate: Callable[..., Any], b: Tensor, h: Tensor, queries: Span, keys: Span) -> Verdict:
    """What a predicate says about blocks; that all is possible if it cannot say."""
    try:
        verdict = predicate(b, h, queries, keys)
    except Exception:  # what is wrong with it, if anything, shows when it is asked about positions
        verdict = None
    if isinstance(verdict, Tensor):
        verdict = Verdict(verdict, verdict)
    if not isinstance(verdict, Verdict):
        everything = torch.ones((), dtype=torch.bool, device=b.device)
        verdict = Verdict(everything, ~everything)
    return verdict


def _number(allowed: Bool[Tensor, "n q_block kv_block"], seen: dict[bytes, int]) -> Tensor:
    """The number of each pattern, where equal ones have one number; new ones are added to ``seen``."""
    packed = np.packbits(allowed.flatten(1).cpu().numpy(), axis=1)
    numbers = [seen.setdefault(pattern.tobytes(), len(seen)) for pattern in packed]
    return torch.tensor(numbers, dtype=torch.long, device=allowed.device)


def _lists(
    lengths: tuple[int, int],
    size: tuple[int, int],
    shape: tuple[int, int, int],
    rows: Tensor,
    columns: Tensor,
    pattern: Tensor,
    patterns: Tensor,
) -> BlockLists:
    """Put entries in order: by row, the full ones first, by column."""
    number = shape[0] * shape[1] * shape[2]
    partial = pattern != FULL
    widest = int(columns.max()) + 1 if len(columns) else 1
    order = ((rows * 2 + partial) * widest + columns).argsort()
    counts = rows.bincount(minlength=number)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return BlockLists(
        lengths,
        size,
        offsets.int(),
        columns[order].int(),
        pattern[order].int(),
        rows[~partial].bincount(minlength=number).int().view(shape),
        counts.int().view(shape),
        patterns,
    )
