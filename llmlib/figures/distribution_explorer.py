"""The distribution explorer of Chapter 8: what temperature, top-k, top-p and min-p do to the next token."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.tokenizer_spec import pieces_html

if TYPE_CHECKING:
    from llmlib.generation.sampling import Sampler
    from llmlib.models.inference import LanguageModel
    from llmlib.tokenizers.bpe import BPETokenizer


class DistributionExplorer(LiveFigure):
    """The most probable next tokens after a context, and sliders for what is drawn from (Chapter 8).

    Each token has two bars: what the model says, and what is left of it after temperature and filters. Beside them
    stand the entropy of the distribution that is drawn from, how many tokens are kept, and how much probability they
    had together before the rest was cut. The sliders compute with all the logits, in the page.

    Args:
        model: any language model: ids (B, T) to logits (B, T, V).
        tokenizer: its tokenizer.
        contexts: texts to choose from, of one token at least.
        context: the index of the one that is shown first.
        temperature: where the sliders stand at first, as are the next three.
        top_k: 0 for off.
        top_p: 1 for off.
        min_p: 0 for off.
        count: how many tokens are shown.

    Attributes:
        context: the index of the context that is shown; changes as the reader chooses.
        temperature: from 0, which is greedy, to 2.
        top_k: see above; it changes, too, as do the next two.
        top_p: see above.
        min_p: see above.

    Raises:
        ValueError: there is no context or one of no tokens, the vocabularies differ, or a setting is out of range.
    """

    _esm = script(
        "pieces.js", "sampling.js", "token_bars.js", "sampler_controls.js", "distribution_explorer.js"
    )
    _css = stylesheet("pieces.css", "token_bars.css", "sampler_controls.css")
    label = traitlets.Unicode("Distribution explorer").tag(sync=True)
    contexts = traitlets.List(traitlets.Dict()).tag(sync=True)
    logits = traitlets.Bytes().tag(sync=True)
    vocab_size = traitlets.Int().tag(sync=True)
    context = traitlets.Int().tag(sync=True)
    temperature = traitlets.Float(1.0, min=0, max=2).tag(sync=True)
    top_k = traitlets.Int(0, min=0).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.05, max=1).tag(sync=True)
    min_p = traitlets.Float(0.0, min=0, max=0.5).tag(sync=True)

    def __init__(
        self,
        model: "LanguageModel",
        tokenizer: "BPETokenizer",
        contexts: Sequence[str],
        *,
        context: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        count: int = 12,
    ) -> None:
        if not contexts:
            raise ValueError("the explorer needs at least one context")
        rows = [next_logits(model, tokenizer.encode(text), text) for text in contexts]
        vocab_size = len(rows[0])
        if vocab_size != tokenizer.vocab_size:
            raise ValueError(
                f"the model predicts {vocab_size} tokens, but the tokenizer has {tokenizer.vocab_size}: give the "
                "tokenizer that the model was trained with"
            )
        if not 1 <= count <= vocab_size:
            raise ValueError(f"count must be from 1 to {vocab_size}, not {count}")
        self._rows = np.stack(rows)

        def best(row: np.ndarray) -> list[dict[str, Any]]:
            return [
                token_data(tokenizer, token) for token in np.argsort(-row, kind="stable")[:count].tolist()
            ]

        super().__init__(
            contexts=[{"text": text, "best": best(row)} for text, row in zip(contexts, rows, strict=True)],
            logits=self._rows.astype("<f4").tobytes(),
            vocab_size=vocab_size,
            context=context,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
        )

    @traitlets.validate("context")
    def _check_context(self, proposal: dict[str, int]) -> int:
        if not 0 <= proposal["value"] < len(self.contexts):
            raise ValueError(
                f"context must be the index of one of the {len(self.contexts)} contexts, not {proposal['value']}"
            )
        return proposal["value"]

    @property
    def sampler(self) -> "Sampler":
        """What the sliders say, for :func:`llmlib.generation.generate.generate`."""
        from llmlib.generation.sampling import Sampler

        return Sampler(
            self.temperature,
            self.top_k or None,
            self.top_p if self.top_p < 1 else None,
            self.min_p or None,
        )

    def still(self) -> str:
        """The context that is shown, the settings, and the most probable next tokens."""
        import torch

        from llmlib.generation.sampling import distribution

        shown = self.contexts[self.context]
        logits = torch.from_numpy(self._rows[self.context])
        own, drawn = logits.softmax(dim=-1), distribution(logits, self.sampler)
        rows = "".join(
            f"<tr><td>{pieces_html([piece.get('text', bytes(piece.get('bytes', [])))])}</td>"
            f"<td>{own[piece['id']]:.3f}</td><td>{_or_cut(drawn[piece['id']].item())}</td></tr>"
            for piece in shown["best"]
        )
        bits = torch.special.entr(drawn).sum().item() / np.log(2)
        return (
            f"<p>After “{escape(shown['text'])}”, with {escape(str(self.sampler))}: {int((drawn > 0).sum()):,} of "
            f"{self.vocab_size:,} tokens are kept, and the entropy is {bits:.2f} bits. The most probable ones, what "
            f"the model says, and what is drawn from:</p><table>{rows}</table>"
        )


def next_logits(model: "LanguageModel", ids: list[int], text: str) -> np.ndarray:
    """The logits of the token after a context, (V,), in float32.

    Raises:
        ValueError: the context has no tokens.
    """
    import torch

    from llmlib.models.inference import device_of, evaluating

    if not ids:
        raise ValueError(f"the context {text!r} has no tokens, so there is nothing to predict from")
    with evaluating(model):
        logits = model(torch.tensor([ids], device=device_of(model)))[0, -1]
    return logits.float().cpu().numpy()


def _or_cut(p: float) -> str:
    return f"{p:.3f}" if p > 0 else "cut"


def token_data(tokenizer: "BPETokenizer", token: int) -> dict[str, Any]:
    """A token as ``token_bars.js`` reads it: its text, or its bytes where they are no whole characters."""
    data = tokenizer.decode_bytes([token])
    try:
        return {"id": token, "text": data.decode()}
    except UnicodeDecodeError:
        return {"id": token, "bytes": list(data)}
