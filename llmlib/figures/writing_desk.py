"""The writing desk of Chapter 8: a model writes, and shows at every token what else it might have written."""

import json
from html import escape
from typing import TYPE_CHECKING, Any

import traitlets

from llmlib.figures.distribution_explorer import token_data
from llmlib.figures.live import LiveFigure, script, stylesheet, worker_script
from llmlib.figures.page_model import pack
from llmlib.figures.tokenizer_spec import compact

if TYPE_CHECKING:
    import torch

    from llmlib.generation.decoders import Recomputing
    from llmlib.models.inference import LanguageModel
    from llmlib.tokenizers.bpe import BPETokenizer

ALTERNATIVES = 8
"""How many tokens are listed that might have stood in a place."""

_WORKER = ("tokenizing.js", "matvec.js", "llama.js", "sampling.js", "writer.js")
_NAMES = {"temperature": "temperature", "topK": "top_k", "topP": "top_p", "minP": "min_p"}


class WritingDesk(LiveFigure):
    """A prompt, the sliders of the sampler, a seed, and a model that writes token by token (Chapter 8).

    Tokens are coloured by how little the model expected them; each can be chosen to see what else might have stood
    there. In JupyterLab the model itself writes, in Python, whatever model it is. On the page, without Python,
    a LLaMA writes in JavaScript, in a worker, with its matrices rounded to 49 levels: so its text may differ from
    Python's, and so does the random number generator. Each writes the same text again for the same seed.

    Args:
        model: the model.
        tokenizer: its tokenizer.
        prompt: what stands in the box at first.
        end: the token that ends a text; an empty prompt begins with it.
        temperature: where the sliders stand at first, as are the next three.
        top_k: 0 for off.
        top_p: 1 for off.
        min_p: 0 for off.
        seed: from 0 to 999,999.
        count: how many tokens are written at a time.
        in_page: whether the model goes into the page, which takes about a byte a parameter. It must be a Llama
            that :func:`~llmlib.figures.page_model.pack` takes, and the tokenizer a BPETokenizer.

    Attributes:
        prompt: what stands in the box; changes as the reader writes, as does all that follows.
        temperature: from 0, which is greedy, to 2.
        top_k: see above.
        top_p: see above.
        min_p: see above.
        seed: see above.
        count: see above.

    Raises:
        ValueError: the model cannot run in the page, has another vocabulary than the tokenizer, or a setting is out
            of range.
    """

    _esm = f"const WORKER = {json.dumps(worker_script(*_WORKER))};\n" + script(
        "pieces.js", "token_bars.js", "sampler_controls.js", "writing_desk.js"
    )
    _css = stylesheet("pieces.css", "token_bars.css", "sampler_controls.css", "writing_desk.css")
    label = traitlets.Unicode("Writing desk").tag(sync=True)
    packed = traitlets.Bytes().tag(sync=True)
    vocabulary = traitlets.Dict().tag(sync=True)
    end = traitlets.Int(None, allow_none=True).tag(sync=True)
    prompt = traitlets.Unicode().tag(sync=True)
    temperature = traitlets.Float(1.0, min=0, max=2).tag(sync=True)
    top_k = traitlets.Int(0, min=0).tag(sync=True)
    top_p = traitlets.Float(1.0, min=0.05, max=1).tag(sync=True)
    min_p = traitlets.Float(0.0, min=0, max=0.5).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=999_999).tag(sync=True)
    count = traitlets.Int(60, min=10, max=200).tag(sync=True)
    # The page asks with a call; whoever hears the answer has a kernel.
    asked = traitlets.Dict().tag(sync=True)
    answered = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        model: "LanguageModel",
        tokenizer: "BPETokenizer",
        prompt: str,
        *,
        end: int | None = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int = 0,
        count: int = 60,
        in_page: bool = True,
    ) -> None:
        from llmlib.models.inference import vocab_size_of

        vocab_size = vocab_size_of(model)
        if vocab_size is not None and vocab_size != tokenizer.vocab_size:
            raise ValueError(
                f"the model predicts {vocab_size} tokens, but the tokenizer has {tokenizer.vocab_size}: give the "
                "tokenizer that the model was trained with"
            )
        self._model, self._tokenizer = model, tokenizer
        self._decoder: Recomputing | None = None
        self._generator: torch.Generator | None = None
        super().__init__(
            packed=pack(model) if in_page else b"",  # type: ignore[arg-type]
            vocabulary=compact(tokenizer) if in_page else {},
            end=end,
            prompt=prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed,
            count=count,
        )

    @traitlets.observe("asked")
    def _answer(self, change: dict[str, Any]) -> None:
        message = change["new"]
        calls = {"hello": lambda values: {}, "begin": self._begin, "next": self._next}
        try:
            answer = calls[message["name"]](message["values"])
        except (ValueError, TypeError) as error:
            self.answered = {"call": message["call"], "error": str(error).rstrip(".")}
        else:
            self.answered = {"call": message["call"], "answer": answer}

    def _begin(self, values: dict[str, Any]) -> dict[str, Any]:
        """Begin a text; the model reads it when the first token is asked for."""
        import torch

        from llmlib.generation.decoders import decoder_for
        from llmlib.generation.prompts import read_prompts

        ids = self._tokenizer.encode(values["text"])
        if not ids and self.end is not None:
            ids = [self.end]
        prompts = read_prompts(self._model, ids)
        self._decoder = decoder_for(self._model, prompts, self.traits()["count"].max, True)
        self._generator = torch.Generator().manual_seed(values["seed"])
        return {"tokens": len(ids)}

    def _next(self, values: dict[str, Any]) -> dict[str, Any]:
        """Write a token."""
        import torch

        from llmlib.generation.sampling import Sampler, distribution
        from llmlib.models.inference import evaluating

        if self._decoder is None:
            raise ValueError("there is no text to go on with: begin one")
        with evaluating(self._model):
            logits = self._decoder.logits().float().cpu()
        settings = {_NAMES[name]: value for name, value in values["settings"].items()}
        own, drawn = logits[0].softmax(dim=-1), distribution(logits, Sampler(**settings))[0]
        token = int(torch.multinomial(drawn, 1, generator=self._generator))
        self._decoder.append(torch.tensor([token], device=self._decoder.prompts[0].device))

        def describe(one: int) -> dict[str, Any]:
            data = {"id": one, "text": ""} if one == self.end else token_data(self._tokenizer, one)
            return {
                **data,
                "own": own[one].item(),
                "drawn": drawn[one].item(),
                "kept": bool(drawn[one] > 0),
            }

        best = own.argsort(descending=True, stable=True)[:ALTERNATIVES].tolist()
        return {
            "token": describe(token),
            "alternatives": [describe(one) for one in best],
            "bits": torch.special.entr(drawn).sum().item() / torch.log(torch.tensor(2.0)).item(),
            "ended": token == self.end,
        }

    def still(self) -> str:
        """The prompt and what the model writes after it, with the settings at which it does."""
        from llmlib.generation.generate import generate
        from llmlib.generation.sampling import Sampler

        ids = self._tokenizer.encode(self.prompt) or ([] if self.end is None else [self.end])
        top_p = self.top_p if self.top_p < 1 else None
        sampler = Sampler(self.temperature, self.top_k or None, top_p, self.min_p or None)
        if not ids:
            return "<p>Here a model writes after a prompt.</p>"
        text = generate(self._model, ids, self.count, sampler=sampler, seed=self.seed, stop=self.end)
        new = self._tokenizer.decode(text[len(ids) :])
        return (
            f"<p>After the prompt “{escape(self.prompt)}”, with {escape(str(sampler))} and seed {self.seed}, the model "
            f"writes:</p><blockquote><p>{escape(new)}</p></blockquote>"
        )
