"""GLM's task: spans are taken out of a text and written again behind it, one token after the other (Chapter 10)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmlib.models import GLM
from llmlib.training.masked_tokens import IGNORED, generator_of
from llmlib.training.spans import check_spans, draw_spans


@dataclass(frozen=True)
class Blanks:
    """A text with blanks, and what belongs into them (Chapter 10).

    Attributes:
        ids: Part A, the text in which each span is a mask token; then part B, each span after a start token. (T)
        positions: Of each token, where it stands in part A, a token of part B where its mask stands; and where it
            stands inside its blank: 0 in part A, from 1 in part B. (2, T)
        part_a: The tokens of part A: the prefix that all may see (``masks.prefix``).
        targets: What is predicted at each position, :data:`~llmlib.training.masked_tokens.IGNORED` in part A. (T)
    """

    ids: Int[Tensor, " T"]
    positions: Int[Tensor, "2 T"]
    part_a: int
    targets: Int[Tensor, " T"]


def blank_infilling(
    ids: Int[Tensor, " T"],
    spans: Sequence[tuple[int, int]],
    *,
    mask_id: int,
    start_id: int,
    end_id: int,
    order: Sequence[int] | None = None,
) -> Blanks:
    """Take spans out of a text, and put them behind it (Chapter 10).

    Du et al. 2021, arXiv:2103.10360, section 2.1 and figure 2. There positions are counted from 1, here from 0.

    Args:
        ids: The token ids of a text.
        spans: Where each span begins and how many tokens it has, from left to right, none empty, as from
            :func:`~llmlib.training.spans.draw_spans`.
        mask_id: The token that stands for a span in part A.
        start_id: What stands before each span in part B.
        end_id: What is predicted after the last token of a span.
        order: In which order the spans stand in part B, as indices; by default from left to right. In training it is
            random, so that each span learns to be written after any others.

    Returns:
        What the model reads, and what it should predict.

    Raises:
        ValueError: There is no span, one is empty, they overlap or leave the text, or the order names other spans.
    """
    if not len(spans):
        raise ValueError("There is no span, so there would be nothing to predict: give at least one.")
    check_spans(spans, len(ids), empty=False)
    order = range(len(spans)) if order is None else order
    if sorted(order) != list(range(len(spans))):
        raise ValueError(f"The order must name each of {len(spans)} spans once, but is {list(order)}.")

    mask, start, end = (ids.new_tensor([token]) for token in (mask_id, start_id, end_id))
    part_a, places, after = [], [], 0
    for begin, size in spans:
        part_a += [ids[after:begin], mask]
        places.append(sum(map(len, part_a)) - 1)  # of the mask
        after = begin + size
    part_a.append(ids[after:])
    length_a = sum(map(len, part_a))

    part_b, targets, where, inside = [], [], [], []
    for number in order:
        begin, size = spans[number]
        span = ids[begin : begin + size]
        part_b += [start, span]
        targets += [span, end]
        where.append(torch.full((size + 1,), places[number]))
        inside.append(torch.arange(1, size + 2))
    positions = torch.stack(
        [
            torch.cat([torch.arange(length_a), *where]),
            torch.cat([torch.zeros(length_a, dtype=torch.long), *inside]),
        ]
    ).to(ids.device)
    unseen = ids.new_full((length_a,), IGNORED)
    return Blanks(torch.cat([*part_a, *part_b]), positions, length_a, torch.cat([unseen, *targets]))


@dataclass(frozen=True)
class BlankInfilling:
    """GLM's task as an objective of :func:`~llmlib.training.loop.train` (Chapter 10).

    Attributes:
        mask_id: The token that stands for a span.
        start_id: What stands before each span.
        end_id: What is predicted after it.
        rate: The share of tokens that is taken out.
        mean_length: λ of the lengths of spans.
    """

    mask_id: int
    start_id: int
    end_id: int
    rate: float = 0.15
    mean_length: float = 3.0

    def __call__(self, model: GLM, rows: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
        """The mean cross-entropy of the tokens of all spans and their ends, in nats."""
        ids, positions, part_a, targets = stack(self.corrupt(rows))
        predicted = targets != IGNORED
        hidden = model.hidden(ids, positions=positions, part_a=part_a)
        return F.cross_entropy(model.logits(hidden[predicted]), targets[predicted])

    def corrupt(self, rows: Int[Tensor, "B T"], *, seed: int | None = None) -> list[Blanks]:
        """Each text with blanks, and the spans in a random order.

        Args:
            rows: Texts of T tokens.
            seed: The same seed corrupts alike. Without one, PyTorch's generator decides.
        """
        texts = []
        for number, row in enumerate(rows):
            own = None if seed is None else seed + number
            spans = draw_spans(len(row), self.rate, self.mean_length, seed=own)
            order = torch.randperm(len(spans), generator=generator_of(own)).tolist()
            tokens = {"mask_id": self.mask_id, "start_id": self.start_id, "end_id": self.end_id}
            texts.append(blank_infilling(row, spans, order=order, **tokens))
        return texts


def stack(
    texts: Sequence[Blanks],
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B 2 T"], Int[Tensor, " B"], Int[Tensor, "B T"]]:
    """Texts with blanks as one batch: ids, positions, lengths of part A, and targets.

    The shorter are filled up behind part B with 0, which nothing before it sees and nothing is predicted from.

    Args:
        texts: What :func:`blank_infilling` made.
    """
    ids = pad_sequence([text.ids for text in texts], batch_first=True)
    positions = pad_sequence([text.positions.T for text in texts], batch_first=True).mT
    part_a = torch.tensor([text.part_a for text in texts], device=ids.device)
    targets = pad_sequence([text.targets for text in texts], batch_first=True, padding_value=IGNORED)
    return ids, positions, part_a, targets
