"""FlashAttention: exact attention that never writes its T · S scores to memory, forward and backward (Chapter 6).

Dao et al. 2022, arXiv:2205.14135, in the loop order of Dao 2023, arXiv:2307.08691 (FlashAttention-2): a program holds
one block of queries, walks over blocks of keys and values, and keeps of each row of scores only its maximum and its
sum so far. Backward computes the scores anew from q, k and the logarithm of each row's sum. Where a mask leaves out
whole blocks of pairs, so does the walk (arXiv:2205.14135, section 3.3).

A tensor comes as a *descriptor*: the hardware of an H100 copies blocks by it, fills in zeros where the tensor ends, and
does not write there. Exponentials are powers of two, as the hardware has them: eˣ = 2^(x · log₂ e).
"""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from llmlib.kernels.support import INTERPRETED, check, first_derivative_only, jit, launch, power_of_two, tl

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # see support: without Triton, nothing here is called
    TensorDescriptor = None


@jit
def _load(x, batch, head, start, block: tl.constexpr, width: tl.constexpr):
    """A block of rows of one head, (block, width)."""
    return x.load([batch, head, start, 0]).reshape(block, width)


@jit
def _store(x, batch, head, start, rows, block: tl.constexpr, width: tl.constexpr):
    """The other way, rounded to the tensor's dtype."""
    x.store([batch, head, start, 0], rows.to(x.dtype).reshape(1, 1, block, width))


@jit
def _key_steps(
    mask, batch, head, query, keys, causal: tl.constexpr, block_q: tl.constexpr, block_k: tl.constexpr
):
    """The walk of a block of queries: its steps over blocks of keys that are seen in full, then in part."""
    if mask is None:
        seen, clear = keys, keys
        if causal:
            seen, clear = tl.minimum(keys, query + block_q), tl.minimum(keys, query)
        return 0, clear // block_k, clear // block_k, tl.cdiv(seen, block_k)
    else:  # noqa: RET505 - decided when compiled: only one of the two is
        return _line(mask, batch, head, query // mask.q_block, mask.kv_block // block_k)


@jit
def _query_steps(
    mask, batch, head, key, queries, causal: tl.constexpr, block_q: tl.constexpr, block_k: tl.constexpr
):
    """The walk of a block of keys: its steps over blocks of queries that see all of them, then over the others."""
    if mask is None:
        first, clear, last = 0, 0, tl.cdiv(queries, block_q)
        if causal:
            first = tl.minimum(key // block_q, last)
            clear = tl.minimum(tl.cdiv(key + block_k, block_q), last)
        return clear, last, first, clear
    else:  # noqa: RET505 - decided when compiled: only one of the two is
        return _line(mask, batch, head, key // mask.kv_block, mask.q_block // block_q)


@jit
def _line(mask, batch, head, block, pieces: tl.constexpr):
    """The same from the mask's lists, whose blocks are walked over in pieces."""
    line = batch * mask.batch_lines + head * mask.head_lines + block
    first = tl.load(mask.offsets + line)
    middle = first + tl.load(mask.full + line)
    last = tl.load(mask.offsets + line + 1)
    return first * pieces, middle * pieces, middle * pieces, last * pieces


@jit
def _place(mask, step, last, block: tl.constexpr, pieces: tl.constexpr):
    """Where the block of a step begins."""
    if mask is None:
        return step * block
    else:  # noqa: RET505 - decided when compiled: only one of the two is
        column = tl.load(mask.columns + step // pieces, mask=step < last, other=0)
        return (column * pieces + step % pieces) * block


@jit
def _hide(scores, mask, step, q_idx, kv_idx, kv_start, keys, causal: tl.constexpr, pieces: tl.constexpr):
    """Set to −∞ the scores of pairs that do not count. One index runs along the rows, the other along the columns."""
    if mask is None:
        allowed = kv_idx < keys
        if causal:
            allowed &= kv_idx <= q_idx
    else:  # each query has a bit for each key, in words of 64
        query = tl.load(mask.pattern + step // pieces).to(tl.int64) * mask.q_block + q_idx % mask.q_block
        words = tl.load(mask.words + query * (mask.kv_block // 64) + kv_start % mask.kv_block // 64)
        allowed = (words >> (kv_idx % 64)) & 1 != 0
    return tl.where(allowed, scores, float("-inf"))


@jit
def _attend(
    state, q, k_desc, v_desc, batch, kv_head, q_idx, keys, scale, mask, first, last,
    masked: tl.constexpr, causal: tl.constexpr, block: tl.constexpr, pieces: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Walk over blocks of keys and values with the online softmax.

    Of each row it keeps the highest score so far and, relative to that, the sum of the exponentials and the sum of
    the values that they weight. Where a block brings a higher score, both sums shrink accordingly.
    """
    acc, total, highest = state
    start = _place(mask, first, last, block, pieces)
    for step in tl.range(first, last):
        k = _load(k_desc, batch, kv_head, start, block, width)
        scores = tl.dot(q, k.T, input_precision="ieee")
        if masked:
            kv_idx = start + tl.arange(0, block)
            scores = _hide(scores, mask, step, q_idx[:, None], kv_idx[None, :], start, keys, causal, pieces)
        higher = tl.maximum(highest, tl.max(scores, 1) * scale)
        weights = tl.exp2(scores * scale - higher[:, None])
        shrink = tl.exp2(highest - higher)
        total = total * shrink + tl.sum(weights, 1)
        v = _load(v_desc, batch, kv_head, start, block, width)
        acc = tl.dot(weights.to(v.dtype), v, acc * shrink[:, None], input_precision="ieee")
        highest = higher
        start = _place(mask, step + 1, last, block, pieces)
    return acc, total, highest


@jit
def _flash_forward(
    log_total_ptr,  # (B, H, T): log₂ Σ exp(score) of each query, which backward starts from
    q_desc,
    out_desc,
    k_desc,
    v_desc,
    mask,  # None, or the block lists by query
    heads,
    group,  # how many query heads share a key head
    queries,
    keys,
    scale,  # that of the scores, times log₂ e
    causal: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    pieces: tl.constexpr,  # in which a block of the mask is walked over
    width: tl.constexpr,  # D, rounded up to a power of two
):
    """One block of queries a program: its rows of the output."""
    blocks = tl.cdiv(queries, block_q)
    # The last queries of a causal mask have the longest walk: they start first, and the short ones fill up the end.
    start = (blocks - 1 - tl.program_id(0) % blocks) * block_q
    head = tl.program_id(0) // blocks % heads
    batch = tl.program_id(0) // blocks // heads
    q_idx = start + tl.arange(0, block_q)
    q = _load(q_desc, batch, head, start, block_q, width)
    # The lowest finite number and not −∞: for a query that may see no key, −∞ − (−∞) would be no number.
    highest = tl.full((block_q,), -3.4028234663852886e38, tl.float32)
    state = tl.zeros((block_q, width), tl.float32), tl.zeros((block_q,), tl.float32), highest
    first, full, partial, last = _key_steps(mask, batch, head, start, keys, causal, block_q, block_k)
    state = _attend(
        state, q, k_desc, v_desc, batch, head // group, q_idx, keys, scale, mask, first, full,
        False, causal, block_k, pieces, width,
    )  # fmt: skip
    acc, total, highest = _attend(
        state, q, k_desc, v_desc, batch, head // group, q_idx, keys, scale, mask, partial, last,
        True, causal, block_k, pieces, width,
    )  # fmt: skip
    total = tl.where(total == 0, 1.0, total)  # of a query that may see no key, whose output is 0
    _store(out_desc, batch, head, start, acc / total[:, None], block_q, width)
    row = (batch * heads + head).to(tl.int64) * queries + q_idx
    tl.store(log_total_ptr + row, highest + tl.log2(total), mask=q_idx < queries)


@jit
def _gather_dq(
    dq, q, dout, log_total, delta, k_desc, v_desc, batch, kv_head, q_idx, keys, scale, mask, first, last,
    masked: tl.constexpr, causal: tl.constexpr, block: tl.constexpr, pieces: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Walk over blocks of keys, for the gradient of a block of queries."""
    start = _place(mask, first, last, block, pieces)
    for step in tl.range(first, last):
        k = _load(k_desc, batch, kv_head, start, block, width)
        v = _load(v_desc, batch, kv_head, start, block, width)
        scores = tl.dot(q, k.T, input_precision="ieee")
        dweights = tl.dot(dout, v.T, input_precision="ieee")
        if masked:
            kv_idx = start + tl.arange(0, block)
            scores = _hide(scores, mask, step, q_idx[:, None], kv_idx[None, :], start, keys, causal, pieces)
        weights = tl.exp2(scores * scale - log_total[:, None])
        dscores = weights * (dweights - delta[:, None])
        dq = tl.dot(dscores.to(k.dtype), k, dq, input_precision="ieee")
        start = _place(mask, step + 1, last, block, pieces)
    return dq


@jit
def _flash_backward_q(
    log_total_ptr,
    delta_ptr,  # (B, H, T): Σ out · dout of each query, computed here, for the other kernel as well
    q_desc,
    out_desc,
    dout_desc,
    dq_desc,
    k_desc,
    v_desc,
    mask,
    heads,
    group,
    queries,
    keys,
    scale,
    causal: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    pieces: tl.constexpr,
    width: tl.constexpr,
):
    """One block of queries a program: its rows of dQ."""
    blocks = tl.cdiv(queries, block_q)
    start = (blocks - 1 - tl.program_id(0) % blocks) * block_q
    head = tl.program_id(0) // blocks % heads
    batch = tl.program_id(0) // blocks // heads
    q_idx = start + tl.arange(0, block_q)
    row = (batch * heads + head).to(tl.int64) * queries + q_idx
    q = _load(q_desc, batch, head, start, block_q, width)
    dout = _load(dout_desc, batch, head, start, block_q, width)
    out = _load(out_desc, batch, head, start, block_q, width)
    delta = tl.sum(out.to(tl.float32) * dout.to(tl.float32), 1)
    tl.store(delta_ptr + row, delta, mask=q_idx < queries)
    log_total = tl.load(log_total_ptr + row, mask=q_idx < queries, other=0.0)
    dq = tl.zeros((block_q, width), tl.float32)
    first, full, partial, last = _key_steps(mask, batch, head, start, keys, causal, block_q, block_k)
    dq = _gather_dq(
        dq, q, dout, log_total, delta, k_desc, v_desc, batch, head // group, q_idx, keys, scale, mask, first, full,
        False, causal, block_k, pieces, width,
    )  # fmt: skip
    dq = _gather_dq(
        dq, q, dout, log_total, delta, k_desc, v_desc, batch, head // group, q_idx, keys, scale, mask, partial, last,
        True, causal, block_k, pieces, width,
    )  # fmt: skip
    dq = dq * (scale * 0.6931471805599453)  # without its log₂ e
    _store(dq_desc, batch, head, start, dq, block_q, width)


@jit
def _gather_dk_dv(
    dk, dv, k, v, q_desc, dout_desc, log_total_ptr, delta_ptr, batch, head, row, kv_idx, kv_start, queries, keys,
    scale, mask, first, last,
    masked: tl.constexpr, causal: tl.constexpr, block: tl.constexpr, pieces: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    """Walk over blocks of queries, for the gradients of a block of keys and values.

    Scores are turned over here, (block_k, block_q), so that no product needs its left side turned.
    """
    start = _place(mask, first, last, block, pieces)
    for step in tl.range(first, last):
        q_idx = start + tl.arange(0, block)
        q = _load(q_desc, batch, head, start, block, width)
        # ∞ where there is no query: its weights are 0.
        log_total = tl.load(log_total_ptr + row + q_idx, mask=q_idx < queries, other=float("inf"))
        scores = tl.dot(k, q.T, input_precision="ieee")
        if masked:
            scores = _hide(
                scores, mask, step, q_idx[None, :], kv_idx[:, None], kv_start, keys, causal, pieces
            )
        weights = tl.exp2(scores * scale - log_total[None, :])
        dout = _load(dout_desc, batch, head, start, block, width)
        dv = tl.dot(weights.to(dout.dtype), dout, dv, input_precision="ieee")
        delta = tl.load(delta_ptr + row + q_idx, mask=q_idx < queries, other=0.0)
        dweights = tl.dot(v, dout.T, input_precision="ieee")
        dscores = weights * (dweights - delta[None, :])
        dk = tl.dot(dscores.to(q.dtype), q, dk, input_precision="ieee")
        start = _place(mask, step + 1, last, block, pieces)
    return dk, dv


@jit
def _flash_backward_kv(
    log_total_ptr,
    delta_ptr,
    q_desc,
    dout_desc,
    k_desc,
    v_desc,
    dk_desc,
    dv_desc,
    mask,  # None, or the block lists by key
    heads,
    group,
    queries,
    keys,
    scale,
    causal: tl.constexpr,
    block_q: tl.constexpr,
    block_k: tl.constexpr,
    pieces: tl.constexpr,
    width: tl.constexpr,
):
    """One block of keys a program: its rows of dK and dV, summed over the query heads that share them."""
    blocks = tl.cdiv(keys, block_k)
    start = tl.program_id(0) % blocks * block_k
    kv_head = tl.program_id(0) // blocks % (heads // group)
    batch = tl.program_id(0) // blocks // (heads // group)
    kv_idx = start + tl.arange(0, block_k)
    k = _load(k_desc, batch, kv_head, start, block_k, width)
    v = _load(v_desc, batch, kv_head, start, block_k, width)
    dk = tl.zeros((block_k, width), tl.float32)
    dv = tl.zeros((block_k, width), tl.float32)
    for head in range(kv_head * group, (kv_head + 1) * group):
        row = (batch * heads + head).to(tl.int64) * queries
        first, full, partial, last = _query_steps(mask, batch, head, start, queries, causal, block_q, block_k)
        dk, dv = _gather_dk_dv(
            dk, dv, k, v, q_desc, dout_desc, log_total_ptr, delta_ptr, batch, head, row, kv_idx, start, queries, keys,
            scale, mask, first, full, False, causal, block_q, pieces, width,
        )  # fmt: skip
        dk, dv = _gather_dk_dv(
            dk, dv, k, v, q_desc, dout_desc, log_total_ptr, delta_ptr, batch, head, row, kv_idx, start, queries, keys,
            scale, mask, partial, last, True, causal, block_q, pieces, width,
        )  # fmt: skip
    _store(dk_desc, batch, kv_head, start, dk * (scale * 0.6931471805599453), block_k, width)
    _store(dv_desc, batch, kv_head, start, dv, block_k, width)


class Tiles(NamedTuple):
    """How a kernel is cut up: queries and keys at a time, warps a program, and blocks on their way at once."""

    block_q: int
    block_k: int
    warps: int
    stages: int


# By the head width up to which they serve: for the forward kernel, for that of dQ, and for that of dK and dV. Compiled
# for an H100, they fit its memory and its registers (but for some words of the last, where query heads share a key
# head, at D = 128), and products run beside other work.
HALF_PRECISION = {
    64: (Tiles(128, 64, 4, 3), Tiles(128, 64, 4, 3), Tiles(64, 128, 8, 3)),
    128: (Tiles(128, 128, 8, 3), Tiles(128, 64, 8, 3), Tiles(64, 128, 8, 3)),
    256: (Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 2), Tiles(16, 64, 8, 2)),
}
WITH_MASK = {  # at most 64 keys at a time, one word of bits
    64: (Tiles(128, 64, 4, 3), Tiles(64, 64, 4, 3), Tiles(64, 64, 4, 3)),
    128: (Tiles(128, 64, 8, 3), Tiles(128, 64, 8, 3), Tiles(64, 64, 4, 2)),
    256: (Tiles(128, 64, 8, 2), Tiles(64, 64, 8, 2), Tiles(16, 64, 8, 2)),
}
WITH_LESS_MEMORY = {  # to serve on other GPUs, whose programs get less than SHARED_MEMORY; not chosen for speed
    128: (Tiles(64, 64, 4, 2), Tiles(64, 32, 4, 2), Tiles(32, 64, 4, 2)),
    256: (Tiles(64, 32, 4, 1), Tiles(32, 32, 4, 1), Tiles(32, 32, 4, 1)),
}
SHARED_MEMORY = 227 * 1024  # bytes, on an H100
SINGLE_PRECISION = {  # exact products, which no tensor core has: small tiles, for tests rather than for speed
    64: (Tiles(32, 32, 4, 1), Tiles(16, 16, 4, 1), Tiles(16, 16, 4, 1)),
    256: (Tiles(16, 16, 4, 1), Tiles(16, 16, 4, 1), Tiles(16, 16, 4, 1)),
}
MAX_WIDTH = 256


class Walk(NamedTuple):
    """Block lists in CSR form: the blocks that count, line by line, in each line the full ones first.

    Attributes:
        offsets: Where each line begins, and where the last one ends, (lines + 1,).
        full: How many blocks of each line are full, (B', H', lines of one head).
        columns: The place of each block in its line.
        pattern: The pattern of each partial block; of a full one, any number.
    """

    offsets: Tensor
    full: Tensor
    columns: Tensor
    pattern: Tensor


class BlockMask(NamedTuple):
    """Which pairs of queries and keys count, block by block.

    Attributes:
        lengths: (T, S).
        by_query: The blocks of keys for each block of queries.
        by_key: The blocks of queries for each block of keys.
        words: The patterns of partial blocks, (patterns, q_block, kv_block / 64), int64: of query i and word w, bit j
            says whether the key 64 w + j of the block counts. Bits of keys behind the last one are 0, so a block
            that reaches there is partial.
    """

    lengths: tuple[int, int]
    by_query: Walk
    by_key: Walk
    words: Tensor


def pack(patterns: Tensor) -> Tensor:
    """Booleans (patterns, q_block, kv_block) as the words of a :class:`BlockMask`."""
    bits = patterns.unflatten(-1, (-1, 64)).long() << torch.arange(64, device=patterns.device)
    return bits.sum(-1)


class _Lines(NamedTuple):
    """A walk as the kernels get it."""

    offsets: Tensor
    full: Tensor
    columns: Tensor
    pattern: Tensor
    words: Tensor
    batch_lines: int  # how far the lines of two sequences are apart; 0 where they share them
    head_lines: int
    q_block: Any
    kv_block: Any


def _lines(walk: list[Tensor], words: Tensor) -> _Lines:
    (batch, heads, lines), (_, q_block, words_each) = walk[1].shape, words.shape
    apart = 0 if batch == 1 else heads * lines, 0 if heads == 1 else lines
    sizes = tl.constexpr(q_block), tl.constexpr(64 * words_each)
    return _Lines(walk[0], walk[1], walk[2], walk[3], words, *apart, *sizes)


def _described(x: Tensor, rows: int) -> Any:
    """What the kernels know x by: where blocks of so many rows are. Of a copy, if the hardware could not find them."""
    apart = [stride * x.element_size() for stride in x.stride()]
    if x.stride(-1) != 1 or x.data_ptr() % 16 or any(step == 0 or step % 16 for step in apart[:-1]):
        x = x.clone(memory_format=torch.contiguous_format)
    block = [1, 1, rows, max(16, power_of_two(x.shape[-1]))]
    return TensorDescriptor(x, list(x.shape), list(x.stride()), block)


def _table(x: Tensor, masked: bool) -> dict[int, tuple[Tiles, Tiles, Tiles]]:
    if x.dtype == torch.float32 and not INTERPRETED:  # the interpreter is at its best with large tiles
        return SINGLE_PRECISION
    if x.is_cuda:
        device = torch.cuda.get_device_properties(x.device)
        if device.shared_memory_per_block_optin < SHARED_MEMORY:  # type: ignore[attr-defined]
            return WITH_LESS_MEMORY
    return WITH_MASK if masked else HALF_PRECISION


def _run(
    kernel: Any,
    number: int,  # in the tables
    numbers: list[Tensor],  # of each query
    of_queries: list[Tensor],
    of_keys: list[Tensor],
    scale: float,
    causal: bool,
    walk: list[Tensor],
    words: list[Tensor],
) -> None:
    (B, H, T, D), (_, G, S, _) = of_queries[0].shape, of_keys[0].shape  # noqa: N806
    table = _table(of_keys[0], masked=bool(walk))
    block_q, block_k, warps, stages = next(table[width] for width in table if width >= D)[number]
    pieces = 1
    if walk:
        lines = _lines(walk, *words)
        block_q = min(block_q, words[0].shape[1])  # a piece lies within one block of the mask
        pieces = words[0].shape[1] // block_q if number == 2 else 64 * words[0].shape[2] // block_k
    launch(
        kernel,
        B * (G * -(-S // block_k) if number == 2 else H * -(-T // block_q)),
        *numbers,
        *(_described(x, block_q) for x in of_queries),
        *(_described(x, block_k) for x in of_keys),
        lines if walk else None,
        H,
        H // G,
        T,
        S,
        scale * math.log2(math.e),
        warps=warps,
        num_stages=stages,
        causal=causal,
        block_q=block_q,
        block_k=block_k,
        pieces=pieces,
        width=max(16, power_of_two(D)),
    )


def _like(x: Tensor) -> Tensor:
    """A tensor of the shape of x, with the heads of a position side by side in memory, as projections want them."""
    return torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)


@torch.library.custom_op("llmlib::flash_attention", mutates_args=())
def _forward(
    q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool, mask: list[Tensor]
) -> tuple[Tensor, Tensor]:
    out, log_total = _like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)
    if q.numel() == 0 or k.numel() == 0:
        return out.zero_(), log_total.zero_()
    _run(_flash_forward, 0, [log_total], [q, out], [k, v], scale, causal, mask[:4], mask[8:])
    return out, log_total


@torch.library.custom_op("llmlib::flash_attention_backward", mutates_args=())
def _backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    out: Tensor,
    dout: Tensor,
    log_total: Tensor,
    scale: float,
    causal: bool,
    mask: list[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = _like(q), _like(k), _like(v)
    if q.numel() == 0 or k.numel() == 0:
        return dq.zero_(), dk.zero_(), dv.zero_()
    numbers = [log_total, torch.empty_like(log_total)]
    _run(_flash_backward_q, 1, numbers, [q, out, dout, dq], [k, v], scale, causal, mask[:4], mask[8:])
    _run(_flash_backward_kv, 2, numbers, [q, dout], [k, v, dk, dv], scale, causal, mask[4:8], mask[8:])
    return dq, dk, dv


@_forward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, causal: bool, mask: list[Tensor]
) -> tuple[Tensor, Tensor]:
    return _like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)


@_backward.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _like(q), _like(k), _like(v)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.scale, ctx.causal, mask = inputs
    ctx.save_for_backward(q, k, v, *output, *mask)


def _differentiate(ctx: Any, dout: Tensor, _: Tensor) -> tuple[Any, ...]:
    first_derivative_only("flash_attention")
    q, k, v, out, log_total, *mask = ctx.saved_tensors
    gradients = _backward(q, k, v, out, dout, log_total, ctx.scale, ctx.causal, mask)
    return *gradients, None, None, [None] * len(mask)


_forward.register_autograd(_differentiate, setup_context=_setup_context)


def flash_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
) -> Tensor:
    """softmax(q · kᵀ · scale) · v by Triton kernels that keep the scores on the chip (Chapter 6).

    Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691. Sums are in float32. Besides the output, one
    number for each query is kept for the backward pass, whose results are the same in every run.

    Args:
        q: Queries, (B, H, T, D), of float32, float16 or bfloat16; D at most 256, fastest where a power of two.
        k: Keys, (B, G, S, D), where G divides H.
        v: Values, (B, G, S, D).
        causal: Whether no query sees a later position; both are counted from 0.
        block_mask: Which pairs count; None for all of them.
        scale: The factor of q · k; by default 1/√D.

    Returns:
        (B, H, T, D); 0 for a query that may see no key.

    Raises:
        ImportError: Triton is not installed.
        TypeError: Something is no tensor, the dtypes differ or are others, or the mask is no BlockMask.
        ValueError: The shapes do not fit, both masks are given, or the tensors are not on one CUDA device.
    """
    check("flash_attention", q=q, k=k, v=v)
    _check_shapes(q, k, v)
    if block_mask is not None:
        _check_mask(q, k, causal, block_mask)
    mask = [] if block_mask is None else [*block_mask.by_query, *block_mask.by_key, block_mask.words]
    D = q.shape[-1]  # noqa: N806
    scale = 1 / math.sqrt(D) if scale is None else scale
    if scale <= 0:  # the kernel looks for the highest score before it scales
        q, scale = q * scale, 1.0
    apart = 16 // q.element_size()
    if D % apart == 0:
        return _forward(q, k, v, scale, causal, mask)[0]
    # The hardware finds rows that are a multiple of 16 bytes apart.
    q, k, v = (F.pad(x, (0, -D % apart)) for x in (q, k, v))
    return _forward(q, k, v, scale, causal, mask)[0][..., :D]


def flash_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool = False,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
) -> Tensor:
    """:func:`flash_attention` in PyTorch's operations, with all T · S scores, for any device and dtype.

    Args:
        q: (B, H, T, D).
        k: (B, G, S, D).
        v: (B, G, S, D).
        causal: Whether no query sees a later position.
        block_mask: Which pairs count; None for all of them.
        scale: The factor of q · k; by default 1/√D.

    Returns:
        As :func:`flash_attention`.
    """
    wide, group = torch.promote_types(q.dtype, torch.float32), q.shape[1] // k.shape[1]
    k, v = (x.to(wide).repeat_interleave(group, dim=1) for x in (k, v))
    scores = q.to(wide) @ k.mT * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool, device=q.device)
    if causal:
        hidden = torch.ones_like(hidden).triu(1)
    if block_mask is not None:
        hidden = ~_written_out(block_mask)
    scores = scores.masked_fill(hidden, torch.finfo(wide).min)
    return (scores.softmax(-1).masked_fill(hidden, 0) @ v).to(q.dtype)


def _written_out(mask: BlockMask) -> Tensor:
    """All pairs of a block mask, (B', H', T, S)."""
    (T, S), walk = mask.lengths, mask.by_query  # noqa: N806
    bits = mask.words[..., None] >> torch.arange(64, device=mask.words.device) & 1
    patterns = bits.flatten(-2).bool()  # (patterns, q_block, kv_block)
    _, q_block, kv_block = patterns.shape
    line = torch.repeat_interleave(walk.offsets.diff())
    full = torch.arange(len(line), device=line.device) < (walk.offsets[:-1] + walk.full.flatten())[line]
    pairs = patterns.new_zeros(walk.full.numel(), -(-S // kv_block), q_block, kv_block)
    pairs[line[full], walk.columns[full]] = True
    pairs[line[~full], walk.columns[~full]] = patterns[walk.pattern[~full]]
    return pairs.transpose(1, 2).reshape(*walk.full.shape[:2], -1, pairs.shape[1] * kv_block)[..., :T, :S]


def _check_shapes(q: Tensor, k: Tensor, v: Tensor) -> None:
    if not q.dtype == k.dtype == v.dtype:
        raise TypeError(f"q, k, v must have one dtype, but have {q.dtype}, {k.dtype}, {v.dtype}.")
    shapes = f"q is {tuple(q.shape)}, k is {tuple(k.shape)}, v is {tuple(v.shape)}"
    if not (q.dim() == k.dim() == 4 and k.shape == v.shape and q.shape[0] == k.shape[0]):
        raise ValueError(f"q must be (B, H, T, D), and k and v both (B, G, S, D), but {shapes}.")
    if q.shape[3] != k.shape[3] or not 1 <= q.shape[3] <= MAX_WIDTH:
        raise ValueError(
            f"The head width D must be one number from 1 to {MAX_WIDTH}, but {shapes}: for wider heads call "
            "flash_attention_reference, its PyTorch form."
        )
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ValueError(f"The key/value heads G must divide the query heads H, but {shapes}.")


def _check_mask(q: Tensor, k: Tensor, causal: bool, mask: BlockMask) -> None:
    if not isinstance(mask, BlockMask):
        raise TypeError(f"The block mask must be a BlockMask, but is a {type(mask).__name__}.")
    if causal:
        raise ValueError(
            "Give a causal mask or a block mask, not both: the block mask must hold all that counts."
        )
    lengths = q.shape[2], k.shape[2]
    if mask.lengths != lengths:
        raise ValueError(f"The block mask is for T, S = {mask.lengths}, but q and k have {lengths}.")
    _, q_block, words_each = mask.words.shape
    if q_block < 64 or power_of_two(q_block) != q_block or power_of_two(words_each) != words_each:
        raise ValueError(
            f"Blocks must be 64, 128, 256 ... long, but the block mask has {q_block} queries and {64 * words_each} "
            "keys a block."
        )
    outer = (1, q.shape[0]), (1, q.shape[1])
    for walk in (mask.by_query, mask.by_key):
        if not all(size in sizes for size, sizes in zip(walk.full.shape, outer, strict=False)):
            raise ValueError(
                f"The block mask is for {tuple(walk.full.shape[:2])} sequences and heads, but q has "
                f"{tuple(q.shape[:2])}: each must be the same or 1."
            )
