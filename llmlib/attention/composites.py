"""Masks of published models, put together from the kinds (Chapter 5)."""

from collections.abc import Sequence

from llmlib.attention.kinds import at_least, dilated, global_tokens, random_blocks, window
from llmlib.attention.mask import Mask


def star_transformer() -> Mask:
    """Each position sees its neighbours and one relay; the relay, at the start, sees all (Chapter 5).

    Guo et al. 2019, arXiv:1902.09113, section 3: a ring of satellites around a relay. Here the ring is open, for a
    rule that does not know the length cannot tie the last position to the first.
    """
    return _named(window(1) | global_tokens(1), "star_transformer()")


def longformer(w: int = 256, n: int = 1, d: int | Sequence[int] = 1) -> Mask:
    """A window, dilated where wanted, and a few global tokens of the text itself (Chapter 5).

    Beltagy et al. 2020, arXiv:2004.05150, section 3.1. The published models see 256 positions on either side, and
    a classifier makes its first token global.

    Args:
        w: How many positions a query sees on either side, at least 0.
        n: How many tokens at the start are global, at least 0.
        d: The dilation of the window, one for all heads or one for each; at least 1.

    Raises:
        ValueError: One of them is too small.
    """
    return _named(dilated(w, d) | global_tokens(n), f"longformer({w}, {n}, {d})")


def etc(w: int, n: int, segment: int | None = None) -> Mask:
    """Global tokens that stand in front of the text and are no part of it, and a window in the text (Chapter 5).

    Ainslie et al. 2020, arXiv:2004.08483, section 3.2. The global input is the first n positions, the long input the
    rest. Each of the four pieces of attention has its rule: global to global, global to long and long to global are
    open, and long to long is a window.

    Args:
        w: How many positions of the long input a query of it sees on either side, at least 0.
        n: How many global tokens there are, at least 0.
        segment: The length of a segment of the long input, such as a paragraph, at least 1. Then each global token
            stands for one segment and sees only that one of the long input.

    Raises:
        ValueError: One of them is too small.
    """
    if segment is None:
        return _named(window(w) | global_tokens(n), f"etc({w}, {n})")
    at_least(0, "The number of global tokens", n=n)
    at_least(1, "The length of a segment", segment=segment)
    to_global = Mask(lambda b, h, q_idx, kv_idx: kv_idx < n, constant=True)
    from_long = Mask(lambda b, h, q_idx, kv_idx: q_idx >= n, constant=True)
    own = Mask(lambda b, h, q_idx, kv_idx: q_idx == (kv_idx - n) // segment, constant=True)
    return _named(to_global | (from_long & window(w)) | (~from_long & own), f"etc({w}, {n}, {segment})")


def bigbird(
    block: int = 64, w: int = 1, n: int = 1, r: int = 3, seed: int = 0, *, length: int | None = None
) -> Mask:
    """A window, global tokens and random links, all in blocks (Chapter 5).

    Zaheer et al. 2020, arXiv:2007.14062, section 2. The published base model has blocks of 64, a
    window of three of them, one global block at either end and three random blocks.

    Args:
        block: The length of a block, at least 1.
        w: How many blocks a block of queries sees on either side of itself, at least 0.
        n: How many blocks at the start are global, at least 0.
        r: How many random blocks each block of queries sees, at least 0.
        seed: Another seed gives other random blocks.
        length: How long the sequence is. Then its last n blocks are global, too, and the random blocks are drawn
            from all; else from those up to the query's own (:func:`~llmlib.attention.masks.random_blocks`).

    Raises:
        ValueError: One of them is too small.
    """
    ends = global_tokens(n)
    if length is not None:
        last = -(-length // block)
        ends |= Mask(lambda b, h, q, kv: (q >= last - n) | (kv >= last - n), constant=True)
    links = random_blocks(r, block, seed, length=length)
    tail = "" if length is None else f", length={length}"
    return _named(
        (window(w) | ends).in_blocks(block) | links, f"bigbird({block}, {w}, {n}, {r}, {seed}{tail})"
    )


def _named(mask: Mask, name: str) -> Mask:
    return Mask(mask.mask_mod, name, mask.constant)
