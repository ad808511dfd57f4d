"""Beam search: the k best beginnings are kept at every step, in place of one (Chapter 8)."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from llmlib.generation.cache import StaticCache
from llmlib.generation.decoders import decoder_for
from llmlib.generation.prompts import read_prompts, several
from llmlib.generation.sampling import check_logits
from llmlib.generation.stopping import check_stop_ids
from llmlib.models.inference import LanguageModel, evaluating, vocab_size_of


@dataclass(frozen=True)
class Beam:
    """A text that :func:`beam_search` found (Chapter 8).

    Attributes:
        ids: The prompt and its continuation.
        log_probability: The sum of the log-probabilities of the new tokens, in nats.
        score: The same divided by (number of new tokens) ** length_penalty, by which texts are ranked.
    """

    ids: list[int]
    log_probability: float
    score: float


def beam_search(
    model: LanguageModel,
    ids: list[int] | Tensor,
    max_new_tokens: int,
    *,
    beams: int = 4,
    length_penalty: float = 1.0,
    stop: int | Collection[int] | None = None,
    cache: bool | StaticCache = True,
) -> list[Beam]:
    """Search for the most probable continuations of a text (Chapter 8).

    At every step each of the k beams is continued with every token, and the k best of the k · V continuations go on.
    Greedy is k = 1. Finding the best of all texts is sure only if k is as large as the number of beginnings; with a k
    that can be paid, the search may drop what would have become the best text (Graves 2012, arXiv:1211.3711; the
    penalty for length after Wu et al. 2016, arXiv:1609.08144, section 7, here as Hugging Face has it).

    Args:
        model: Any language model.
        ids: The prompt.
        max_new_tokens: How many tokens to add at most.
        beams: k.
        length_penalty: The exponent of the number of new tokens in the score. With 0 the score is the log-probability,
            which favours short texts, for each token makes it smaller; above 0, longer texts are favoured.
        stop: The token, or the tokens, after which a text ends.
        cache: As for :func:`~llmlib.generation.generate.generate`, for k sequences.

    Returns:
        The k best texts, best first; fewer if there are no more.

    Raises:
        TypeError: The prompt, ``beams`` or ``stop`` is of another kind.
        ValueError: A number is out of range, there are several prompts, or the model's logits are not finite.
    """
    if isinstance(beams, bool) or not isinstance(beams, int):
        raise TypeError(f"beams must be a whole number, but is {beams!r}.")
    if beams < 1 or max_new_tokens < 1:
        raise ValueError(
            f"Expected beams ≥ 1 and max_new_tokens ≥ 1, but got beams = {beams}, max_new_tokens = {max_new_tokens}."
        )
    (prompt,) = read_prompts(model, ids) if not several(ids) else (None,)
    if prompt is None:
        raise ValueError("Beam search takes one prompt at a time: call it for each.")
    ends = check_stop_ids([stop] if isinstance(stop, int) else list(stop or ()), vocab_size_of(model))
    decoder = decoder_for(model, [prompt] * beams, max_new_tokens, cache)

    scores = torch.full((beams,), -torch.inf, device=prompt.device)
    scores[0] = 0  # all beams begin alike, so only one of them counts
    found: list[Beam] = []

    def keep(text: Tensor, log_probability: float) -> None:
        new = len(text) - len(prompt)
        found.append(Beam(text.tolist(), log_probability, log_probability / new**length_penalty))

    with evaluating(model):
        for step in range(1, max_new_tokens + 1):
            totals = scores[:, None] + check_logits(decoder.logits()).log_softmax(dim=-1)  # (k, V)
            texts, size = decoder.texts(), totals.shape[1]
            least = totals.flatten().topk(beams).values[-1]
            for row, token in [(row, token) for row in range(beams) for token in ends]:
                if totals[row, token] >= least and totals[row, token] > -torch.inf:
                    keep(torch.cat([texts[row], texts[row].new_tensor([token])]), totals[row, token].item())
            totals[:, ends] = -torch.inf
            scores, places = totals.flatten().topk(beams)
            decoder.select(places // size)
            decoder.append(places % size)
            found = sorted(found, key=lambda beam: -beam.score)[:beams]
            # What goes on can only lose probability; at best it ends as long as it may, where that helps its score.
            longest = max_new_tokens if length_penalty > 0 else step
            best_to_come = scores[0].item() / longest**length_penalty
            if len(found) == beams and best_to_come <= found[-1].score:
                return found
            if scores[0] == -torch.inf:
                return found
    for text, score in zip(decoder.texts(), scores.tolist(), strict=True):
        if score > -torch.inf:
            keep(text, score)
    return sorted(found, key=lambda beam: -beam.score)[:beams]
