"""One question to four kinds of model: what stands in this blank, and what comes next? (Chapter 10)."""

from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmlib.models import GLM, GPT, Bart, Bert
from llmlib.models.inference import evaluating

Model: TypeAlias = GPT | Bert | Bart | GLM


@dataclass(frozen=True)
class Cloze:
    """Asks a model about texts, in the way in which it was trained (Chapter 10).

    Attributes:
        model: The model.
        mask_id: What stands for a blank.
        start_id: What a GPT and the decoder of a BART begin a text with, and a GLM what it writes.
    """

    model: Model
    mask_id: int
    start_id: int

    def blank(self, ids: Int[Tensor, "B T"], place: int) -> Float[Tensor, "B V"]:
        """The log-probabilities of the token at a place, which is hidden from the model.

        A GPT sees what stands before. A BERT sees all else. A BART's encoder reads all else, and its decoder has
        written what stands before. A GLM sees all else, and says what its blank begins with: it is not told how long
        the blank is.

        Args:
            ids: Texts.
            place: Which token is asked for, from 0.

        Raises:
            ValueError: There is no such place.
        """
        if not 0 <= place < ids.shape[1]:
            raise ValueError(
                f"The place must be in 0 … {ids.shape[1] - 1} (the text's tokens), but is {place}."
            )
        hidden = ids.clone()
        hidden[:, place] = self.mask_id
        with evaluating(self.model):
            match self.model:
                case GPT():
                    logits = self.model(self._begun(ids[:, :place]))[:, -1]
                case Bert():
                    logits = self.model.logits(self.model.hidden(hidden)[:, place])
                case Bart():
                    logits = self.model(hidden, self._begun(ids[:, :place]))[:, -1]
                case GLM():
                    logits = self._written(hidden, place, ids[:, :0])[:, -1]
        return logits.log_softmax(dim=-1)

    def continuation(self, ids: Int[Tensor, "B T"], begin: int) -> Float[Tensor, "B K"]:
        """The log-probability of each token from ``begin`` on, given those before it.

        A BART and a GLM read the beginning with a mask behind it. A BERT is asked for one token after the other: the
        mask stands at the end.

        Args:
            ids: Texts.
            begin: Where the continuation begins, from 1.

        Raises:
            ValueError: Nothing is left to continue with, or to continue.
        """
        if not 1 <= begin < ids.shape[1]:
            raise ValueError(f"begin must be in 1 … {ids.shape[1] - 1}, inside the text, but is {begin}.")
        mask = torch.full_like(ids[:, :1], self.mask_id)
        known = torch.cat([ids[:, :begin], mask], dim=1)
        with evaluating(self.model):
            match self.model:
                case GPT():
                    logits = self.model(self._begun(ids[:, :-1]))[:, begin:]
                case Bert():
                    texts = [torch.cat([ids[:, :t], mask], dim=1) for t in range(begin, ids.shape[1])]
                    logits = torch.stack(
                        [self.model.logits(self.model.hidden(x)[:, -1]) for x in texts], dim=1
                    )
                case Bart():
                    logits = self.model(known, self._begun(ids[:, :-1]))[:, begin:]
                case GLM():
                    logits = self._written(known, begin, ids[:, begin:-1])
        return logits.log_softmax(dim=-1).gather(-1, ids[:, begin:, None])[..., 0]

    def _begun(self, ids: Int[Tensor, "B T"]) -> Int[Tensor, "B T1"]:
        """The texts after the token that begins them."""
        start = ids.new_full((len(ids), 1), self.start_id)
        return torch.cat([start, ids], dim=1)

    def _written(
        self, part_a: Int[Tensor, "B S"], place: int, written: Int[Tensor, "B K"]
    ) -> Float[Tensor, "B K1 V"]:
        """A GLM's logits after the start of its blank and after each token in it."""
        model = cast(GLM, self.model)
        batch, length = part_a.shape
        part_b = self._begun(written)
        size = part_b.shape[1]
        where = torch.cat([torch.arange(length), torch.full((size,), place)])
        inside = torch.cat([torch.zeros(length, dtype=torch.long), torch.arange(1, size + 1)])
        positions = torch.stack([where, inside]).expand(batch, 2, -1).to(part_a.device)
        hidden = model.hidden(
            torch.cat([part_a, part_b], dim=1),
            positions=positions,
            part_a=torch.full((batch,), length, device=part_a.device),
        )
        return model.logits(hidden[:, length:])
