"""Size and training tokens of published models, as their papers give them (Chapter 9)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """A published model (Chapter 9).

    Attributes:
        name: Its name.
        N: Parameters.
        D: Tokens of training.
        source: Where both numbers are from.
    """

    name: str
    N: float
    D: float
    source: str

    @property
    def C(self) -> float:
        """FLOPs of training, 6 N D."""
        return 6 * self.N * self.D

    @property
    def tokens_per_parameter(self) -> float:
        """D / N."""
        return self.D / self.N


_GPT_3 = "Brown et al. 2020, arXiv:2005.14165, table 2.1"
_GOPHER = "Rae et al. 2021, arXiv:2112.11446, table 1 and section 3.2"
_CHINCHILLA = "Hoffmann et al. 2022, arXiv:2203.15556, table 1"
_LLAMA = "Touvron et al. 2023, arXiv:2302.13971, table 2"
_LLAMA_2 = "Touvron et al. 2023, arXiv:2307.09288, table 1"
_LLAMA_3 = "Meta 2024, Llama 3 model card"
_LLAMA_3_1 = "Grattafiori et al. 2024, arXiv:2407.21783, section 3"

PUBLISHED = (
    PublishedModel("GPT-3", 175e9, 300e9, _GPT_3),
    PublishedModel("Gopher", 280e9, 300e9, _GOPHER),
    PublishedModel("Chinchilla", 70e9, 1.4e12, _CHINCHILLA),
    PublishedModel("LLaMA 7B", 6.7e9, 1.0e12, _LLAMA),
    PublishedModel("LLaMA 13B", 13.0e9, 1.0e12, _LLAMA),
    PublishedModel("LLaMA 33B", 32.5e9, 1.4e12, _LLAMA),
    PublishedModel("LLaMA 65B", 65.2e9, 1.4e12, _LLAMA),
    PublishedModel("Llama 2 7B", 7e9, 2.0e12, _LLAMA_2),
    PublishedModel("Llama 2 13B", 13e9, 2.0e12, _LLAMA_2),
    PublishedModel("Llama 2 70B", 70e9, 2.0e12, _LLAMA_2),
    PublishedModel("Llama 3 8B", 8e9, 15e12, _LLAMA_3),
    PublishedModel("Llama 3 70B", 70e9, 15e12, _LLAMA_3),
    PublishedModel("Llama 3.1 405B", 405e9, 15.6e12, _LLAMA_3_1),
)
