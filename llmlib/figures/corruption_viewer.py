"""One sentence through four tasks, for Chapter 10: what a GPT, a BERT, a BART and a GLM read, predict and see."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.figures.mask_family import grid_html

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("GPT", "BERT", "BART", "GLM")
RATES = (0.15, 0.3, 0.5)
MEANS = (1, 2, 3, 5)
DRAWS = 4
WORDS = range(4, 15)
MASK, START, END, NOTHING = -1, -2, -3, -4
"""What is no word of the sentence: the mask, what begins a text or a blank, what ends a blank, no prediction."""
_NAMES = {MASK: "[M]", START: "[S]", END: "[E]", NOTHING: ""}


class CorruptionViewer(LiveFigure):
    """What four kinds of model read and predict of one sentence, and which pairs their attention sees.

    Next tokens (Radford et al. 2019), masked tokens (Devlin et al. 2018, arXiv:1810.04805, section 3.1), text infilling
    (Lewis et al. 2019, arXiv:1910.13461, section 2.2) and blank infilling (Du et al. 2021, arXiv:2103.10360, section
    2.1). The functions of :mod:`llmlib.training` draw what is taken out, a few times for each setting of the sliders;
    the page shows one of these draws. A random token of BERT's is another word of the sentence.

    Args:
        text: a sentence of 4 to 14 words, which are the tokens here.
        kind: ``"GPT"``, ``"BERT"``, ``"BART"`` or ``"GLM"``.
        rate: the share that is taken out: 0.15, 0.3 or 0.5.
        mean_length: the mean length of a span, before empty ones are refused: 1, 2, 3 or 5.

    Attributes:
        words: the words of the sentence.
        kind: whose task is shown; changes, as the three below do, with what the reader chooses.
        rate: index of the share.
        mean: index of the mean length.
        draw: which draw is shown, from 0.
        views: for each kind, share, mean length and draw what is read and predicted.

    Raises:
        TypeError: the text is no string.
        ValueError: the sentence is too short or too long, or a setting is none of those above.
    """

    _esm = script("row_list.js", "mask_grid.js", "corruption_viewer.js")
    _css = stylesheet("mask_family.css", "corruption_viewer.css")
    label = traitlets.Unicode("One sentence, four tasks").tag(sync=True)
    words = traitlets.List(traitlets.Unicode()).tag(sync=True)
    rates = traitlets.List(traitlets.Float(), list(RATES)).tag(sync=True)
    means = traitlets.List(traitlets.Int(), list(MEANS)).tag(sync=True)
    views: "traitlets.Dict[str, Any]" = traitlets.Dict().tag(sync=True)
    kind = traitlets.Unicode("BERT").tag(sync=True)
    rate = traitlets.Int(0).tag(sync=True)
    mean = traitlets.Int(0).tag(sync=True)
    draw = traitlets.Int(0).tag(sync=True)

    def __init__(self, text: str, *, kind: str = "BERT", rate: float = 0.3, mean_length: int = 2) -> None:
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        words = text.split()
        if len(words) not in WORDS:
            raise ValueError(f"the sentence must have {WORDS[0]} to {WORDS[-1]} words, not {len(words)}")
        for name, value, choices in (("rate", rate, RATES), ("mean_length", mean_length, MEANS)):
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r}")
        super().__init__(
            words=[word.encode("utf-8", "replace").decode() for word in words],
            views=_views(len(words)),
            kind=kind,
            rate=RATES.index(rate),
            mean=MEANS.index(mean_length),
        )

    @traitlets.validate("kind")
    def _check_kind(self, proposal: dict[str, str]) -> str:
        if proposal["value"] not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, not {proposal['value']!r}")
        return proposal["value"]

    @traitlets.validate("rate", "mean", "draw")
    def _check_index(self, proposal: dict[str, Any]) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        count = {"rate": len(RATES), "mean": len(MEANS), "draw": DRAWS}[name]
        if not 0 <= value < count:
            raise ValueError(f"{name} must be 0 to {count - 1}, not {value}")
        return value

    def still(self) -> str:
        """What is read and predicted, and the patterns of attention."""
        rates = self.views[self.kind]
        means = rates[min(self.rate, len(rates) - 1)]
        draws = means[min(self.mean, len(means) - 1)]
        streams = draws[min(self.draw, len(draws) - 1)]
        rows = "".join(
            f'<p class="muted">{escape(stream["name"])}: read, and predicted below</p>'
            f'<div class="stream">{"".join(map(self._cell, stream["reads"], stream["predicts"]))}</div>'
            for stream in streams
        )
        grids = "".join(grid_html(name, pattern) for name, pattern in _patterns(self.kind, streams).items())
        return f'<p><strong>{self.kind}</strong></p>{rows}<div class="patterns">{grids}</div>'

    def _cell(self, read: int, predicted: int) -> str:
        text = [
            escape(_NAMES[token] if token in _NAMES else self.words[token]) for token in (read, predicted)
        ]
        return f"<span><b>{text[0]}</b><i>{text[1]}</i></span>"


def _patterns(kind: str, streams: Sequence[dict[str, Any]]) -> "dict[str, Tensor]":
    """The name of each pattern, and whether a query (row) sees a key (column)."""
    from llmlib.attention import masks

    lengths = [len(stream["reads"]) for stream in streams]
    if kind == "GPT":
        return {"Causal": masks.causal().dense(lengths[0])}
    if kind == "BERT":
        return {"Full": masks.full().dense(lengths[0])}
    if kind == "BART":
        return {
            "Encoder": masks.full().dense(lengths[0]),
            "Decoder": masks.causal().dense(lengths[1]),
            "Cross": masks.full().dense(lengths[1], lengths[0]),
        }
    return {"Prefix": masks.prefix(streams[0]["part_a"]).dense(lengths[0])}


def _views(length: int) -> dict[str, Any]:
    """For each kind, share, mean length and draw the streams of tokens; what a slider does not change is there once."""
    seeds = range(DRAWS)
    return {
        "GPT": [[[_gpt(length)]]],
        "BERT": [[[_bert(length, rate, seed) for seed in seeds]] for rate in RATES],
        "BART": [[[_bart(length, rate, mean, seed) for seed in seeds] for mean in MEANS] for rate in RATES],
        "GLM": [[[_glm(length, rate, mean, seed) for seed in seeds] for mean in MEANS] for rate in RATES],
    }


def _gpt(length: int) -> list[dict[str, Any]]:
    return [{"name": "Decoder", "reads": [START, *range(length - 1)], "predicts": [*range(length)]}]


def _bert(length: int, rate: float, seed: int) -> list[dict[str, Any]]:
    import torch

    from llmlib.training import IGNORED, mlm_mask

    ids = torch.arange(length)[None]
    reads, predicts = mlm_mask(
        ids, mask_id=length, vocab_size=length + 1, special_ids=[length], rate=rate, seed=seed
    )
    reads = torch.where(reads == length, MASK, reads)
    predicts = torch.where(predicts == IGNORED, NOTHING, predicts)
    return [{"name": "Encoder", "reads": reads[0].tolist(), "predicts": predicts[0].tolist()}]


def _bart(length: int, rate: float, mean: int, seed: int) -> list[dict[str, Any]]:
    import torch

    from llmlib.training import draw_spans, text_infilling

    spans = draw_spans(length, rate, mean, empty=True, seed=seed)
    source = text_infilling(torch.arange(length), spans, mask_id=MASK).tolist()
    return [
        {"name": "Encoder", "reads": source, "predicts": [NOTHING] * len(source)},
        {"name": "Decoder", "reads": [START, *range(length - 1)], "predicts": [*range(length)]},
    ]


def _glm(length: int, rate: float, mean: int, seed: int) -> list[dict[str, Any]]:
    import torch

    from llmlib.training import IGNORED, BlankInfilling

    task = BlankInfilling(MASK, START, END, rate=rate, mean_length=mean)
    (blanks,) = task.corrupt(torch.arange(length)[None], seed=seed)
    targets = torch.where(blanks.targets == IGNORED, NOTHING, blanks.targets)
    return [
        {
            "name": "Part A and part B",
            "reads": blanks.ids.tolist(),
            "predicts": targets.tolist(),
            "positions": blanks.positions.tolist(),
            "part_a": blanks.part_a,
        }
    ]
