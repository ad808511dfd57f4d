"""A budget and what the scaling laws make of it, for Chapter 9: size, tokens and loss, with published models."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import traitlets

from llmlib.figures.live import LiveFigure, script, stylesheet
from llmlib.scaling import (
    BESIROGLU,
    HOFFMANN,
    HOFFMANN_ROUNDED,
    KAPLAN_JOINT,
    PUBLISHED,
    ChinchillaConstants,
    KaplanConstants,
    PublishedModel,
    optimal,
)

CONSTANTS: dict[str, ChinchillaConstants | KaplanConstants] = {
    "Hoffmann": HOFFMANN,
    "Hoffmann, rounded": HOFFMANN_ROUNDED,
    "Besiroglu": BESIROGLU,
    "Kaplan": KAPLAN_JOINT,
}
FLOPS = (17.0, 28.0)  # log10


class ScalingExplorer(LiveFigure):
    """A slider for C; the best N and D, curves of equal loss and of equal FLOPs, and the loss along the latter.

    All is computed in the page (``scaling_explorer.js``), with C = 6 N D. A button chooses the constants, another the
    budget of a published model, which then has its own loss beside the best one.

    Args:
        constants: the sets of constants, by name.
        models: the published models.
        flops: the budget at first, in FLOPs, from 1e17 to 1e28.

    Attributes:
        budget: log10 of the budget in FLOPs; changes as the reader moves the slider.
        chosen: the name of the constants that are used.
        model: the name of the published model whose budget is shown; empty for none.

    Raises:
        ValueError: there are no constants, a name is unknown, or the budget is out of range.
        TypeError: constants are of no known law.
    """

    _esm = script("chart.js", "scaling_explorer.js")
    _css = stylesheet("chart.css", "scaling_explorer.css")
    label = traitlets.Unicode("What a budget buys").tag(sync=True)
    constants = traitlets.Dict().tag(sync=True)
    models: "traitlets.List[Any]" = traitlets.List().tag(sync=True)
    range = traitlets.List(traitlets.Float()).tag(sync=True)
    budget = traitlets.Float().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        constants: Mapping[str, ChinchillaConstants | KaplanConstants] = CONSTANTS,
        models: Sequence[PublishedModel] = PUBLISHED,
        *,
        flops: float = 5.76e23,
    ) -> None:
        if not constants:
            raise ValueError("there must be at least one set of constants, such as {'Hoffmann': HOFFMANN}")
        super().__init__(
            constants={name: _plain(name, values) for name, values in constants.items()},
            models=[{"name": model.name, "N": model.N, "D": model.D} for model in models],
            range=list(FLOPS),
            budget=math.log10(flops) if flops > 0 else -math.inf,
            chosen=next(iter(constants)),
            model="",
        )
        self._constants = dict(constants)

    @traitlets.validate("budget")
    def _check_budget(self, proposal: dict[str, float]) -> float:
        low, high = self.range
        if not low <= proposal["value"] <= high:
            raise ValueError(
                f"the budget must be from 1e{low:g} to 1e{high:g} FLOPs, not 10^{proposal['value']:g}"
            )
        return proposal["value"]

    @traitlets.validate("chosen", "model")
    def _check_name(self, proposal: dict[str, Any]) -> str:
        names = {"chosen": list(self.constants), "model": ["", *(model["name"] for model in self.models)]}
        known = names[proposal["trait"].name]
        if proposal["value"] not in known:
            raise ValueError(f"{proposal['trait'].name} must be one of {known}, not {proposal['value']!r}")
        return proposal["value"]

    def still(self) -> str:
        """A table of the best size and tokens for the budget, by each set of constants."""
        rows = ""
        for name, constants in self._constants.items():
            best = optimal(10**self.budget, constants)
            rows += (
                f"<tr><th>{escape(name)}</th><td>{best.N / 1e9:,.3g}</td><td>{best.D / 1e9:,.3g}</td>"
                f"<td>{best.D / best.N:,.1f}</td><td>{best.loss:.3f}</td></tr>"
            )
        return (
            f"<table><caption>The best use of {10**self.budget:.3g} FLOPs</caption><tr><th>Constants</th>"
            "<th>Parameters, billions</th><th>Tokens, billions</th><th>Tokens per parameter</th>"
            f"<th>Loss, nats per token</th></tr>{rows}</table>"
        )


def _plain(name: str, constants: ChinchillaConstants | KaplanConstants) -> dict[str, Any]:
    """Constants as JSON, with the law that they belong to."""
    if not isinstance(constants, ChinchillaConstants | KaplanConstants):
        raise TypeError(f"the constants {name!r} must be Chinchilla's or Kaplan's, not {constants!r}")
    law = "kaplan" if isinstance(constants, KaplanConstants) else "chinchilla"
    kind = KaplanConstants if law == "kaplan" else ChinchillaConstants
    fields = {field.name: getattr(constants, field.name) for field in dataclasses.fields(kind)}
    return {"law": law, **fields}
