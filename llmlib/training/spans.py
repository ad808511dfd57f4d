"""Which stretches of a text are taken out: what the tasks of BART and GLM share (Chapter 10)."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

from llmlib.training.masked_tokens import check_rate, generator_of

Spans: TypeAlias = list[tuple[int, int]]
"""Where each span begins and how many tokens it has, from left to right."""


def draw_spans(
    length: int,
    rate: float,
    mean_length: float = 3.0,
    *,
    empty: bool = False,
    seed: int | None = None,
) -> Spans:
    """Draw spans that together hold a share of a text's tokens (Chapter 10).

    Lengths come from a Poisson distribution (Lewis et al. 2019, arXiv:1910.13461, section 2.2; Du et al. 2021,
    arXiv:2103.10360, section 2.1) until they reach the share; the last is cut to it. Then spans and the tokens between
    them are put in a random order: spans never overlap, and may touch.

    Args:
        length: The tokens of the text, at least 1.
        rate: Their share that is taken out, above 0 and at most 1, rounded up to whole tokens.
        mean_length: λ, the mean of the Poisson distribution, at least 0.1.
        empty: Whether there may be spans of length 0, as in BART. If not, a 0 is drawn again, as in the authors' code
            of GLM; the mean of what is drawn is then λ / (1 − e^−λ).
        seed: The same seed draws the same. Without one, PyTorch's generator decides.

    Returns:
        The spans.

    Raises:
        ValueError: A number is out of range.
    """
    check_rate(rate)
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ValueError(f"A text of {length!r} tokens has nothing to take out: it needs at least 1.")
    if not 0.1 <= mean_length < math.inf:
        raise ValueError(
            f"The mean length of spans must be a number of at least 0.1, but is {mean_length!r}."
        )
    generator = generator_of(seed)
    wanted = math.ceil(rate * length)
    lengths: list[int] = []
    while (missing := wanted - sum(lengths)) > 0:
        drawn = int(torch.poisson(torch.tensor(float(mean_length)), generator=generator))
        if drawn or empty:
            lengths.append(min(drawn, missing))
    # The last is the one that was cut: in a random order it is one like the others.
    kept = length - wanted
    order = torch.randperm(kept + len(lengths), generator=generator).tolist()
    spans, place = [], 0
    for unit in order:
        if unit < len(lengths):
            spans.append((place, lengths[unit]))
            place += lengths[unit]
        else:
            place += 1
    return spans


def check_spans(spans: Sequence[tuple[int, int]], length: int, *, empty: bool) -> None:
    """Refuse spans that are not in a text of ``length`` tokens, overlap, or are empty where they may not be."""
    end = 0
    for start, size in spans:
        if size < (0 if empty else 1):
            raise ValueError(
                f"A span of {size} tokens at {start} is empty: there is nothing to predict in it. Draw spans with "
                "empty=False."
            )
        if start < end or start + size > length:
            raise ValueError(
                f"Spans must lie in a text of {length} tokens from left to right without overlapping, but there are "
                f"{list(spans)}."
            )
        end = start + size
