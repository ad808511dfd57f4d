"""Scaling laws: what a model of N parameters reaches on D tokens, and how to spend C FLOPs (Chapter 9).

>>> from llmlib.scaling import HOFFMANN, optimal
>>> best = optimal(5.76e23, HOFFMANN)  # Chinchilla's budget, in FLOPs
>>> f"{best.N / 1e9:.0f} billion parameters, {best.D / 1e12:.1f} trillion tokens"
'40 billion parameters, 2.4 trillion tokens'
"""

from llmlib.scaling.fit import Fit, fit_parametric
from llmlib.scaling.flops import Flops, Parameters, Shape, training_flops
from llmlib.scaling.frontier import Frontier, envelope, isoflops
from llmlib.scaling.laws import (
    BESIROGLU,
    HOFFMANN,
    HOFFMANN_ROUNDED,
    KAPLAN,
    KAPLAN_JOINT,
    ChinchillaConstants,
    KaplanConstants,
    Optimum,
    chinchilla,
    kaplan,
    optimal,
    tokens_for,
)
from llmlib.scaling.published import PUBLISHED, PublishedModel
from llmlib.scaling.repetition import effective_tokens
from llmlib.scaling.serving import cheapest

__all__ = [
    "BESIROGLU",
    "HOFFMANN",
    "HOFFMANN_ROUNDED",
    "KAPLAN",
    "KAPLAN_JOINT",
    "PUBLISHED",
    "ChinchillaConstants",
    "Fit",
    "Flops",
    "Frontier",
    "KaplanConstants",
    "Optimum",
    "Parameters",
    "PublishedModel",
    "Shape",
    "cheapest",
    "chinchilla",
    "effective_tokens",
    "envelope",
    "fit_parametric",
    "isoflops",
    "kaplan",
    "optimal",
    "tokens_for",
    "training_flops",
]
