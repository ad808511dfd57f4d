"""BERT's task: some tokens are hidden, and the model says what they were (Chapter 10)."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.attention import masks
from llmlib.models import Bert

IGNORED = -100
"""What stands in the targets where nothing is predicted, as in PyTorch's ``cross_entropy``."""


def mlm_mask(
    ids: Int[Tensor, "B T"],
    *,
    mask_id: int,
    vocab_size: int,
    special_ids: Collection[int],
    rate: float = 0.15,
    seed: int | None = None,
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Choose tokens to predict, and hide most of them (Chapter 10).

    Devlin et al. 2018, arXiv:1810.04805, section 3.1: 15 % of the tokens are chosen. Of these 80 % become the mask
    token, 10 % a random token, and 10 % stay as they are. In each row the number of those chosen is ``rate`` times the
    number of its ordinary tokens, rounded, and at least 1, as in the authors' code.

    Args:
        ids: Rows of token ids.
        mask_id: The mask token.
        vocab_size: V. A random token is drawn from all but the special ones.
        special_ids: The special tokens, padding among them: they are never chosen, and never drawn.
        rate: The share that is chosen, above 0 and at most 1.
        seed: The same seed chooses the same. Without one, PyTorch's generator decides.

    Returns:
        The rows with tokens hidden; and the targets: the original tokens where something was chosen, elsewhere
        :data:`IGNORED`.

    Raises:
        ValueError: The rate is out of range, the mask token is not a special one of the vocabulary, or the vocabulary
            has no ordinary token.
    """
    check_rate(rate)
    if mask_id not in special_ids or not 0 <= mask_id < vocab_size:
        raise ValueError(
            f"The mask token {mask_id} must be one of the special tokens {sorted(special_ids)} in a vocabulary of "
            f"{vocab_size}: train the tokenizer with a [MASK] among its special_tokens."
        )
    generator = generator_of(seed, ids.device)
    ordinary = torch.ones(vocab_size, dtype=torch.bool, device=ids.device)
    ordinary[list(special_ids)] = False
    drawable = ordinary.nonzero().flatten()
    if not len(drawable):
        raise ValueError(f"All {vocab_size} tokens of the vocabulary are special: there is none to predict.")

    candidate = ordinary[ids]
    count = candidate.sum(dim=1, keepdim=True)
    wanted = (count * rate).round().clamp(min=1).minimum(count)
    # Each row's candidates in a random order, of which the first are chosen.
    order = torch.rand(ids.shape, generator=generator, device=ids.device).masked_fill(~candidate, 2.0)
    chosen = order.argsort(dim=1).argsort(dim=1) < wanted

    fate = torch.rand(ids.shape, generator=generator, device=ids.device)
    pick = torch.randint(len(drawable), ids.shape, generator=generator, device=ids.device)
    hidden = torch.where(chosen & (fate < 0.8), mask_id, ids)
    hidden = torch.where(chosen & (fate >= 0.8) & (fate < 0.9), drawable[pick], hidden)
    return hidden, torch.where(chosen, ids, IGNORED)


@dataclass(frozen=True)
class MaskedTokens:
    """BERT's task as an objective of :func:`~llmlib.training.loop.train` (Chapter 10).

    Each call hides other tokens, by PyTorch's generator, which ``train`` seeds at every step: the masking is dynamic,
    as in RoBERTa (Liu et al. 2019, arXiv:1907.11692, section 4.1).

    Attributes:
        mask_id: The mask token.
        vocab_size: V.
        special_ids: The special tokens.
        rate: The share of tokens that is predicted.
        pad_id: What fills up short rows, at their ends: it is not seen. None if nothing does.
    """

    mask_id: int
    vocab_size: int
    special_ids: tuple[int, ...]
    rate: float = 0.15
    pad_id: int | None = None

    def __call__(self, model: Bert, rows: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
        """The mean cross-entropy of the tokens that were chosen, in nats."""
        hidden, targets = mlm_mask(
            rows,
            mask_id=self.mask_id,
            vocab_size=self.vocab_size,
            special_ids=self.special_ids,
            rate=self.rate,
        )
        mask = None if self.pad_id is None else masks.padding((rows != self.pad_id).sum(dim=1))
        chosen = targets != IGNORED
        # Logits only where something is predicted: they are the larger part of the work.
        logits = model.logits(model.hidden(hidden, mask=mask)[chosen])
        return F.cross_entropy(logits, targets[chosen])


def check_rate(rate: float) -> None:
    """Refuse a share of tokens that is not above 0 and at most 1."""
    if not isinstance(rate, float | int) or isinstance(rate, bool) or not 0 < rate <= 1:
        raise ValueError(
            f"The rate is a share of the tokens, above 0 and at most 1 (0.15 for 15 %), but is {rate!r}."
        )


def generator_of(seed: int | None, device: torch.device | str = "cpu") -> torch.Generator | None:
    """A generator of its own for a seed, or None for PyTorch's."""
    return None if seed is None else torch.Generator(device).manual_seed(seed)
