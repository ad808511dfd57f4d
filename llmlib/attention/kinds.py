"""The kinds of mask: rules on positions, each of one idea (Chapters 3 and 5).

A rule is written with arithmetic and comparisons only, so that it can be asked about positions, about blocks
(:mod:`llmlib.attention.spans`) and inside a compiled kernel.
"""

import random
from collections.abc import Sequence

from torch import Tensor

from llmlib.attention.mask import Mask

# These two are made once, so that a backend can know them again: they equal themselves and no other mask.
_FULL = Mask(lambda b, h, q_idx, kv_idx: kv_idx >= 0, "full()", constant=True)
_CAUSAL = Mask(lambda b, h, q_idx, kv_idx: kv_idx <= q_idx, "causal()", constant=True)
_PRIME = 46_337  # its square is below 2**31: a compiled mask may count in 32 bits


def full() -> Mask:
    """Every query sees every key: for an encoder, and for a decoder that reads one (Chapter 3)."""
    return _FULL


def causal() -> Mask:
    """No query sees a later position: the mask of a decoder (Chapter 3).

    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3. Queries and keys are both counted from the start of
    the sequence, also where T and S differ.
    """
    return _CAUSAL


def prefix(n: int | Tensor) -> Mask:
    """The prefix language model: the first n positions are seen by all, the rest is causal (Chapter 3).

    The source reads itself in both directions, the answer is written from left to right, in one stack (Raffel
    et al. 2020, arXiv:1910.10683, section 3.2.1). It is GLM's mask, too (Chapter 10).

    Args:
        n: The length of the prefix, at least 0; or one length for each sequence of the batch, (B).

    Raises:
        ValueError: n is negative.
    """
    if isinstance(n, Tensor):
        _check_lengths("The length of a prefix", n)
        return Mask(lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) | (kv_idx < n[b]), f"prefix({n.tolist()})")
    at_least(0, "The length of a prefix", n=n)
    return Mask(lambda b, h, q_idx, kv_idx: (kv_idx <= q_idx) | (kv_idx < n), f"prefix({n})", constant=True)


def padding(lengths: Tensor) -> Mask:
    """No query sees a key beyond the end of its sequence: for rows that were filled up (Chapter 10).

    It looks at the keys alone, so it serves an encoder and the decoder that reads it.

    Args:
        lengths: How many tokens each sequence of the batch has, (B), at least 0; what comes after them is padding.

    Raises:
        ValueError: A length is negative.
    """
    _check_lengths("The length of a sequence", lengths)
    return Mask(lambda b, h, q_idx, kv_idx: kv_idx < lengths[b], f"padding({lengths.tolist()})")


def _check_lengths(what: str, lengths: Tensor) -> None:
    if lengths.dim() != 1 or lengths.is_floating_point():
        raise ValueError(
            f"{what} must be one whole number for each sequence, (B), but came as {lengths.dtype} of the shape "
            f"{tuple(lengths.shape)}."
        )
    if lengths.device.type == "cpu" and lengths.numel() and int(lengths.min()) < 0:
        raise ValueError(f"{what} must be at least 0, but there is {int(lengths.min())}.")


def window(w: int) -> Mask:
    """Each query sees its own position and the w next to it on either side: a band of width 2w + 1 (Chapter 5).

    With ``& causal()`` it sees itself and the w before it.

    Args:
        w: How far a query sees, at least 0.

    Raises:
        ValueError: w is negative.
    """
    at_least(0, "The width of a window", w=w)
    return Mask(
        lambda b, h, q_idx, kv_idx: (q_idx - kv_idx).abs() <= w,
        f"window({w})",
        constant=True,
    )


def dilated(w: int, d: int | Sequence[int]) -> Mask:
    """A window with gaps: each query sees every d-th position, up to w of them on either side (Chapter 5).

    It reaches d times as far as ``window(w)`` at the same cost (Beltagy et al. 2020, arXiv:2004.05150, section 3.1).

    Args:
        w: How many positions a query sees on either side, at least 0.
        d: The step from one to the next, at least 1. If it is a sequence, its first element is for the first
            head, and so on; after the last one it starts again.

    Raises:
        ValueError: w is negative, d is less than 1, or there is none.
    """
    steps = (d,) if isinstance(d, int) else tuple(d)
    at_least(0, "The width of a window", w=w)
    at_least(1, "A dilation", d=min(steps, default=0))

    def rule(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        step = steps[0] if len(steps) == 1 else sum((h % len(steps) == i) * s for i, s in enumerate(steps))
        distance = (q_idx - kv_idx).abs()
        return (distance <= w * step) & (distance % step == 0)

    return Mask(rule, f"dilated({w}, {d})", constant=True)


def global_tokens(n: int) -> Mask:
    """The first n positions see all and are seen by all (Chapter 5).

    Args:
        n: How many there are, at least 0.

    Raises:
        ValueError: n is negative.
    """
    at_least(0, "The number of global tokens", n=n)
    return Mask(lambda b, h, q_idx, kv_idx: (q_idx < n) | (kv_idx < n), f"global_tokens({n})", constant=True)


def block_local(b: int) -> Mask:
    """Each query sees the keys of its own block of b positions, and no other (Chapter 5).

    Args:
        b: The length of a block, at least 1. The last block may be shorter.

    Raises:
        ValueError: b is less than 1.
    """
    at_least(1, "The length of a block", b=b)
    return Mask(window(0).in_blocks(b).mask_mod, f"block_local({b})", constant=True)


def random_blocks(r: int, block: int = 64, seed: int = 0, *, length: int | None = None) -> Mask:
    """Each block of queries sees r blocks of keys drawn at random (Chapter 5).

    Zaheer et al. 2020, arXiv:2007.14062, section 2. The blocks in question are cut into r stretches as equal as can
    be, and one block is drawn from each, by a random polynomial (Wegman and Carter 1981). So they are all different,
    and the rule needs no table.

    Args:
        r: How many blocks each block of queries sees, or all where there are fewer; at least 0.
        block: The length of a block, at least 1.
        seed: Another seed gives other blocks.
        length: How long the sequence is. Then the draw is from all its blocks. A rule that does not know the
            length cannot tell how many blocks are still to come: it draws from those up to the query's own.

    Raises:
        ValueError: r is negative, or a length is less than 1.
    """
    at_least(0, "The number of random blocks", r=r)
    at_least(1, "The length of a block", block=block)
    at_least(1, "The length of the sequence", length=1 if length is None else length)
    blocks = None if length is None else -(-length // block)
    coefficients = polynomial(seed)

    def rule(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        i, j = q_idx // block, kv_idx // block
        count = i + 1 if blocks is None else blocks
        stretch = ((j + 1) * r - 1) // count  # that of key block j, if j is below the count
        begin, end = stretch * count // r, (stretch + 1) * count // r
        draw = number = (i * r + stretch) % _PRIME
        for coefficient in coefficients:
            draw = (draw * number + coefficient) % _PRIME
        return (j < count) & (j == begin + draw % (end - begin))

    name = f"random_blocks({r}, {block}, {seed}{'' if length is None else f', length={length}'})"
    return Mask(rule if r else (~full()).mask_mod, name, constant=True)


def polynomial(seed: int) -> list[int]:
    """The coefficients by which :func:`random_blocks` draws."""
    generator = random.Random(seed)
    return [generator.randrange(1, _PRIME) for _ in range(4)]


def at_least(smallest: int, what: str, **value: int) -> None:
    """Refuse a number that is too small, or none: ``at_least(1, "The length of a block", b=b)``."""
    ((name, given),) = value.items()
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"{what} must be a whole number, but got {name} = {given!r}.")
    if given < smallest:
        raise ValueError(f"{what} must be at least {smallest}, but got {name} = {given}.")
