"""BART's task: stretches of a text become one mask each, and the model writes the whole text again (Chapter 10)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmlib.attention import masks
from llmlib.models import Bart
from llmlib.training.spans import check_spans, draw_spans


def text_infilling(
    ids: Int[Tensor, " T"], spans: Sequence[tuple[int, int]], *, mask_id: int
) -> Int[Tensor, " S"]:
    """Replace each span by a single mask token (Chapter 10).

    Lewis et al. 2019, arXiv:1910.13461, section 2.2: the model must also find out how many tokens are missing. An empty
    span puts a mask where nothing is missing.

    Args:
        ids: The token ids of a text.
        spans: Where each span begins and how many tokens it has, from left to right, as from
            :func:`~llmlib.training.spans.draw_spans`.
        mask_id: The mask token.

    Returns:
        The text with masks.

    Raises:
        ValueError: Spans overlap or leave the text.
    """
    check_spans(spans, len(ids), empty=True)
    mask = ids.new_tensor([mask_id])
    parts, end = [], 0
    for start, size in spans:
        parts += [ids[end:start], mask]
        end = start + size
    return torch.cat([*parts, ids[end:]])


@dataclass(frozen=True)
class Denoising:
    """BART's task as an objective of :func:`~llmlib.training.loop.train` (Chapter 10).

    The encoder reads the text with masks, the decoder writes the whole text. (BART also shuffles the order of
    sentences, which is left out here.)

    Attributes:
        mask_id: The mask token.
        start_id: The token that the decoder begins with.
        pad_id: What fills up the shorter sources of a batch; the model does not see it.
        rate: The share of tokens that is replaced.
        mean_length: λ, the mean length of a span.
    """

    mask_id: int
    start_id: int
    pad_id: int
    rate: float = 0.3
    mean_length: float = 3.0

    def __call__(self, model: Bart, rows: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
        """The mean cross-entropy of all tokens of the text, in nats."""
        sources, lengths = self.corrupt(rows)
        start = torch.full_like(rows[:, :1], self.start_id)
        logits = model(sources, torch.cat([start, rows[:, :-1]], dim=1), mask=masks.padding(lengths))
        return F.cross_entropy(logits.flatten(0, 1), rows.flatten())

    def corrupt(
        self, rows: Int[Tensor, "B T"], *, seed: int | None = None
    ) -> tuple[Int[Tensor, "B S"], Int[Tensor, " B"]]:
        """The texts with masks, filled up to one length, and how long each is.

        Args:
            rows: Texts of T tokens.
            seed: The same seed corrupts alike. Without one, PyTorch's generator decides.
        """
        sources = []
        for number, row in enumerate(rows):
            spans = draw_spans(
                len(row),
                self.rate,
                self.mean_length,
                empty=True,
                seed=None if seed is None else seed + number,
            )
            sources.append(text_infilling(row, spans, mask_id=self.mask_id))
        lengths = torch.tensor([len(source) for source in sources], device=rows.device)
        return pad_sequence(sources, batch_first=True, padding_value=self.pad_id), lengths
