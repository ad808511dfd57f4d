"""How a model goes on from token to token: with a cache, or by computing all anew (Chapter 7)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from llmlib.generation import lean
from llmlib.generation.cache import StaticCache, shape_of
from llmlib.generation.steps import captured, compiled_step, step
from llmlib.models.inference import LanguageModel, context_of


class Recomputing:
    """Asks the model for the next token by showing it the whole text, every time (Chapters 2 and 7).

    It works with every model, and costs T times as much a text as one with a cache. A text that is longer than the
    context is shown from behind: the window moves with it.

    Args:
        model: Any causal language model.
        prompts: The tokens of each text.
    """

    def __init__(self, model: LanguageModel, prompts: list[Int[Tensor, " _"]]) -> None:
        self.model, self.prompts = model, prompts
        self.drawn: list[Int[Tensor, " B"]] = []
        self.context = context_of(model) or 0  # row[-0:] is all of it

    def select(self, rows: Int[Tensor, " B"]) -> None:
        """Go on with these of the texts, of which some may be there twice and others no more."""
        self.prompts = [self.prompts[row] for row in rows.tolist()]
        self.drawn = [tokens[rows] for tokens in self.drawn]

    def append(self, tokens: Int[Tensor, " B"]) -> None:
        """Add a token to each text."""
        self.drawn.append(tokens)

    def texts(self) -> list[Int[Tensor, " _"]]:
        """The tokens so far."""
        if not self.drawn:
            return self.prompts
        return [torch.cat(pair) for pair in zip(self.prompts, torch.stack(self.drawn, dim=1), strict=True)]

    def logits(self) -> Float[Tensor, "B V"]:
        """The logits of the next token of each text."""
        windows = [text[-self.context :] for text in self.texts()]
        # Texts of different lengths begin together; a causal model does not look at what is put behind the shorter.
        logits = self.model(pad_sequence(windows, batch_first=True))
        last = torch.tensor([len(window) - 1 for window in windows], device=logits.device)
        return logits[torch.arange(len(windows), device=logits.device), last]


class Cached(Recomputing):
    """Shows the model the new tokens only, and a cache of the old ones (Chapter 7).

    Each prompt is read in one pass, prompts of different lengths one after the other, so there is no padding. Where a
    static cache is full, the text has reached the context: from there on, all is computed anew.

    Args:
        model: A GPT or a Llama.
        prompts: The tokens of each text.
        cache: An empty cache for as many texts.
        compiled: Whether the step of one token runs through ``torch.compile``.
        graph: Whether that step is captured as a CUDA graph, which the processor then starts as a whole. The launches
            of its many small kernels are what a GPU otherwise waits for.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: list[Int[Tensor, " _"]],
        cache: StaticCache,
        *,
        compiled: bool = False,
        graph: bool = False,
    ) -> None:
        super().__init__(model, prompts)
        self.cache = cache
        self.lengths = [len(prompt) for prompt in prompts]
        self.compiled, self.graph = compiled, graph
        self.step: Callable[[Tensor], Tensor] | None = None

    def select(self, rows: Int[Tensor, " B"]) -> None:
        """Go on with these of the texts."""
        super().select(rows)
        self.cache.select(rows)

    def logits(self) -> Float[Tensor, "B V"]:
        """The logits of the next token of each text."""
        if not self.drawn:
            return self._read()
        if not self.cache.has_room(max(self.lengths) + len(self.drawn)):
            return super().logits()
        tokens = self.drawn[-1][:, None]
        if self.step is None:
            self.step = self._prepare(tokens)
        return self.step(tokens)

    def _prepare(self, tokens: Int[Tensor, "B 1"]) -> Callable[[Tensor], Tensor]:
        """The step of one token, in the fastest way that serves."""
        model, cache = self.model, self.cache
        work = compiled_step() if self.compiled else step
        if self.graph:
            return captured(work, model, tokens, cache)
        if not self.compiled and lean.serves(model, cache):
            return lean.LeanStep(model, cache)  # type: ignore[arg-type]
        return lambda tokens: work(model, tokens, cache)

    def _read(self) -> Float[Tensor, "B V"]:
        if len(set(self.lengths)) == 1:
            logits = step(self.model, torch.stack(self.prompts), self.cache)
        else:
            rows = [
                step(self.model, prompt[None], self.cache.row(b)) for b, prompt in enumerate(self.prompts)
            ]
            logits = torch.cat(rows)
        if self.compiled or self.graph or len(set(self.lengths)) > 1:
            self.cache.length = torch.tensor(self.lengths, device=logits.device)
        return logits


def decoder_for(
    model: LanguageModel,
    prompts: list[Int[Tensor, " _"]],
    max_new_tokens: int,
    cache: bool | StaticCache,
    compiled: bool = False,
    graph: bool = False,
) -> Recomputing:
    """Choose how a model goes on; the arguments are those of :func:`~llmlib.generation.generate.generate`.

    Raises:
        TypeError: ``max_new_tokens`` is no whole number, or ``cache`` is of another kind.
        ValueError: ``max_new_tokens`` is negative, or the cache, ``compile`` or ``graph`` does not fit.
    """
    if isinstance(max_new_tokens, bool) or not isinstance(max_new_tokens, int):
        raise TypeError(f"max_new_tokens must be a whole number, but is {max_new_tokens!r}.")
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must not be negative, but is {max_new_tokens}.")
    if not isinstance(cache, bool | StaticCache):
        raise TypeError(
            f"cache must be True, False, or a StaticCache or SlidingWindowCache, but is {cache!r}."
        )
    config = shape_of(model)
    if (compiled or graph) and (config is None or cache is False):
        raise ValueError("compile and graph are for the step with a cache, but this model or call has none.")
    if graph and prompts[0].device.type != "cuda":
        raise ValueError(f"graph is for CUDA devices, but the model is on {prompts[0].device}.")
    if cache is False or (cache is True and (config is None or not max_new_tokens)):
        return Recomputing(model, prompts)
    if config is None:
        raise ValueError(f"{type(model).__name__} takes no cache: pass cache=False, or a GPT or a Llama.")
    # The last token drawn is not read.
    needed = min(max(map(len, prompts)) + max_new_tokens - 1, config.context)
    if cache is True:
        cache = StaticCache.for_model(model, len(prompts), needed)  # type: ignore[arg-type]
    empty = isinstance(cache.length, int) and cache.length == 0
    if not empty or cache.batch != len(prompts) or not cache.has_room(needed):
        raise ValueError(
            f"These prompts need an empty cache for {len(prompts)} sequences of {needed} tokens, but this one is for "
            f"{cache.batch} of {cache.capacity}{'' if empty else ', and not empty'}."
        )
    return Cached(model, prompts, cache, compiled=compiled, graph=graph)
