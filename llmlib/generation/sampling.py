"""From logits to the distribution that the next token is drawn from (Chapter 8)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sampler:
    """How the next token is chosen (Chapter 8). A filter that is None is off.

    What is set applies in the order in which it stands here, but the repetition penalty comes first.

    Attributes:
        temperature: What the logits are divided by: below 1 the distribution gets sharper, above it flatter.
            0 is greedy: the most probable token, always.
        top_k: Keep the k most probable tokens, and all that are as probable as the k-th (Fan et al. 2018,
            arXiv:1805.04833).
        top_p: Keep the fewest tokens whose probabilities add up to p, but always one (Holtzman et al. 2019,
            arXiv:1904.09751). Of equally probable tokens, those with the higher ids come first, as Hugging Face
            has it.
        min_p: Keep the tokens with at least this share of the probability of the most probable one (Nguyen et
            al. 2024, arXiv:2407.01082).
        repetition_penalty: Divide the logits of tokens that occurred before by this, or multiply them where
            they are negative, so that they always fall if it is above 1 (after Keskar et al. 2019,
            arXiv:1909.05858, section 4.1, which only divides).

    Raises:
        TypeError: A setting is no number.
        ValueError: A setting is out of its range.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, Real, lambda t: 0 <= t < math.inf, "finite, and 0 or above")
        for name, kind, allowed, expected in (
            ("top_k", Integral, lambda k: k >= 1, "1 or above"),
            ("top_p", Real, lambda p: 0 <= p <= 1, "between 0 and 1"),
            ("min_p", Real, lambda p: 0 <= p <= 1, "between 0 and 1"),
            ("repetition_penalty", Real, lambda r: 0 < r < math.inf, "finite and above 0"),
        ):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), kind, allowed, f"{expected}, or None to switch it off")


def distribution(
    logits: Float[Tensor, "*B V"], sampler: Sampler, previous: Int[Tensor, "*B T"] | None = None
) -> Float[Tensor, "*B V"]:
    """The probabilities of the next token after every filter (Chapter 8).

    Args:
        logits: Logits of the next token, (V) or with any axes before. −∞ excludes a token.
        sampler: The filters.
        previous: The tokens so far, (T) with the same axes before; only the repetition penalty needs them.

    Returns:
        Probabilities of the shape of ``logits``, in float32 (or float64, if that is what came).

    Raises:
        TypeError: The logits are no floating-point numbers.
        ValueError: There is a NaN or an infinite logit, all tokens are excluded, or ``previous`` is missing.
    """
    logits = _penalised(check_logits(logits), sampler, previous)
    if sampler.temperature == 0:
        return torch.zeros_like(logits).scatter(-1, logits.argmax(dim=-1, keepdim=True), 1.0)
    # Softmax does not care about a constant, and without it a low temperature does not overflow.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / sampler.temperature
    if sampler.top_k is not None:
        logits = logits.masked_fill(~in_top_k(logits, sampler.top_k), -math.inf)
    if sampler.top_p is not None:
        logits = logits.masked_fill(~in_top_p(logits, sampler.top_p), -math.inf)
    if sampler.min_p is not None:
        logits = logits.masked_fill(~above_min_p(logits, sampler.min_p), -math.inf)
    return logits.softmax(dim=-1)


def choose(
    logits: Float[Tensor, "B V"],
    sampler: Sampler,
    previous: Int[Tensor, "B T"] | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " B"]:
    """Draw the next token of each text from its :func:`distribution` (Chapter 8).

    Args:
        logits: Logits of the next tokens.
        sampler: The filters.
        previous: The tokens so far.
        generator: A generator of the CPU; without one, PyTorch's global one decides.

    Returns:
        A token for each text, where the logits are.

    Raises:
        TypeError: As :func:`distribution`.
        ValueError: As :func:`distribution`.
    """
    if sampler.temperature == 0:  # the same without the distribution, and nothing to draw
        return _penalised(check_logits(logits), sampler, previous).argmax(dim=-1)
    probabilities = distribution(logits, sampler, previous)
    # Drawn on the CPU, whose random numbers are the same on every machine.
    return torch.multinomial(probabilities.cpu(), 1, generator=generator)[:, 0].to(logits.device)


def check_logits(logits: Float[Tensor, "... V"]) -> Float[Tensor, "... V"]:
    """The logits in float32 at least, if a distribution can be made of them.

    Raises:
        TypeError: They are no floating-point numbers.
        ValueError: There is a NaN or an infinite logit, or all tokens are excluded.
    """
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating-point numbers, but are {logits.dtype}.")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    highest = logits.amax(dim=-1)
    # One look at the maxima finds every NaN, every +∞, and rows of nothing but −∞.
    if not highest.isfinite().all():
        raise ValueError(
            "Logits must be finite, or −∞ to exclude a token, but the highest logit is "
            f"{highest[~highest.isfinite()][0].item()}. NaN and +∞ come from a model whose training "
            "diverged, or from an overflow in float16; −∞ means that all tokens are excluded."
        )
    return logits


def _penalised(logits: Tensor, sampler: Sampler, previous: Tensor | None) -> Tensor:
    if sampler.repetition_penalty is None:
        return logits
    if previous is None:
        raise ValueError("The repetition penalty needs the tokens so far: pass previous=ids.")
    return penalise(logits, previous, sampler.repetition_penalty)


def in_top_k(logits: Float[Tensor, "*B V"], k: int) -> Bool[Tensor, "*B V"]:
    """Which tokens are at least as probable as the k-th most probable one; see :class:`Sampler`."""
    return logits >= logits.topk(min(k, logits.shape[-1])).values[..., -1:]


def in_top_p(logits: Float[Tensor, "*B V"], p: float) -> Bool[Tensor, "*B V"]:
    """Which tokens are the fewest whose probabilities add up to p; see :class:`Sampler`."""
    ascending, order = logits.sort(dim=-1, stable=True)
    # Summed from the least probable one, so that small numbers are not lost beside large ones.
    this_and_less_probable = ascending.softmax(dim=-1).cumsum(dim=-1)
    kept = this_and_less_probable > 1 - p
    kept[..., -1] = True
    return torch.zeros_like(kept).scatter(-1, order, kept)


def above_min_p(logits: Float[Tensor, "*B V"], min_p: float) -> Bool[Tensor, "*B V"]:
    """Which tokens have at least ``min_p`` times the probability of the most probable one."""
    probabilities = logits.softmax(dim=-1)
    return probabilities >= min_p * probabilities.amax(dim=-1, keepdim=True)


def penalise(
    logits: Float[Tensor, "*B V"], previous: Int[Tensor, "*B T"], penalty: float
) -> Float[Tensor, "*B V"]:
    """The logits after the repetition penalty; see :class:`Sampler`."""
    old = logits.gather(-1, previous)
    return logits.scatter(-1, previous, torch.where(old < 0, old * penalty, old / penalty))


def _check(name: str, value: Any, kind: type, allowed: Callable[[Any], bool], expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind):
        number = "a whole number" if kind is Integral else "a number"
        raise TypeError(f"{name} must be {number}, {expected}, but is {value!r}.")
    if not allowed(value):
        raise ValueError(f"{name} must be {expected}, but is {value!r}.")
