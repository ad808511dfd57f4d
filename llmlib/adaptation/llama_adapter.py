"""LLaMA-Adapter: learnt vectors that the upper layers attend to, through a gate that starts closed (Chapter 12)."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from llmlib.adaptation.lora import swap
from llmlib.attention import Bias, Mask, attention
from llmlib.layers import GroupedQueryAttention, Rotation
from llmlib.layers.attention import LayerCache
from llmlib.models import Llama, LlamaConfig


class AdaptedAttention(GroupedQueryAttention):
    """Attention that also gathers from K learnt vectors, its prompts (Chapter 12).

    Zhang et al. 2023, arXiv:2303.16199, sections 3.1 and 3.2. The prompts have no position. They become keys and
    values by the frozen layers of the base, and have a softmax of their own: what is gathered from them is multiplied
    by tanh(gate), one gate for each head, and added to what is gathered from the text. A gate of 0 leaves the base
    as it is. (The first preprint multiplies by the gate itself.)

    Args:
        base: The layer, whose weights are frozen and shared, not copied.
        prompts: K.

    Attributes:
        prompts: The learnt vectors, (K, C).
        gate: One number for each head, (H); it starts at 0.
    """

    def __init__(self, base: GroupedQueryAttention, prompts: int) -> None:
        nn.Module.__init__(self)  # the parts are those of the base, so none are built
        self.head_width, self.mask, self.backend = base.head_width, base.mask, base.backend
        self.query, self.key, self.value, self.out = base.query, base.key, base.value, base.out
        self.requires_grad_(False)
        weight = base.query.weight
        self.prompts = nn.Parameter(weight.new_empty(prompts, weight.shape[1]).normal_())
        self.gate = nn.Parameter(weight.new_zeros(weight.shape[0] // base.head_width))

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        rotation: Rotation | None = None,
        *,
        mask: Mask | None = None,
        bias: Bias | None = None,
        cache: LayerCache | None = None,
    ) -> Float[Tensor, "B T C"]:
        """Let each token of ``x`` gather from the others, and from the prompts.

        Args:
            x: The sequence.
            rotation: By what queries and keys are rotated, but not the keys of the prompts.
            mask: Used among the tokens in this call in place of the layer's own. All tokens see all prompts.
            bias: What is added to the scores of the tokens.
            cache: The keys and values of the tokens before ``x``. The prompts take no room in it.
        """
        q, k = self._queries_and_keys(x, rotation)
        v = self._split(self.value(x))
        if cache is not None:
            k, v, mask = cache.extend(k, v)
        y = attention(q, k, v, mask=mask or self.mask, bias=bias, backend=self.backend)  # (B, H, T, D)
        prompts = self.prompts.expand(len(x), -1, -1)  # (B, K, C)
        from_prompts = attention(
            q, self._split(self.key(prompts)), self._split(self.value(prompts)), backend=self.backend
        )
        y = y + self.gate.tanh().view(-1, 1, 1) * from_prompts
        return self.out(y.transpose(1, 2).flatten(-2))


def add_llama_adapter(model: Llama, *, prompts: int = 10, layers: int | None = None) -> list[str]:
    """Freeze a Llama, and let its upper layers attend to prompts of their own (Chapter 12).

    Args:
        model: The model, which is changed.
        prompts: K, the prompts of each layer; 10 in the paper.
        layers: How many layers get them, counted from the top; by default all but the two lowest, as the paper has it
            for the 32 layers of LLaMA 7B.

    Returns:
        The full names of the attention layers that were replaced.

    Raises:
        TypeError: The model is no Llama.
        ValueError: A number is out of its bounds, or the model has an adapter already.
    """
    if not isinstance(model, Llama):
        raise TypeError(f"LLaMA-Adapter is for a Llama, but got a {type(model).__name__}.")
    layers = _layers(model.config, prompts, layers)
    if any(isinstance(module, AdaptedAttention) for module in model.modules()):
        raise ValueError("The model has an adapter already: start from the base model.")
    model.requires_grad_(False)
    names = [f"blocks.{number}.attention" for number in range(len(model.blocks) - layers, len(model.blocks))]
    for name in names:
        swap(model, name, AdaptedAttention(cast(GroupedQueryAttention, model.get_submodule(name)), prompts))
    return names


def adapter_parameters(
    config: LlamaConfig, *, prompts: int = 10, layers: int | None = None
) -> tuple[int, int]:
    """How many numbers an adapter learns: in its prompts, K · C in each layer, and in its gates, H in each layer.

    >>> adapter_parameters(LlamaConfig.preset("llama-7b"))
    (1228800, 960)
    """
    layers = _layers(config, prompts, layers)
    return layers * prompts * config.width, layers * config.heads


def _layers(config: LlamaConfig, prompts: int, layers: int | None) -> int:
    layers = max(config.layers - 2, 1) if layers is None else layers
    for name, value, most in (("prompts", prompts, None), ("layers", layers, config.layers)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1 or (most and value > most):
            bounds = "1 or larger" if most is None else f"from 1 to {most}"
            raise ValueError(f"{name} must be a whole number, {bounds}, but is {value!r}.")
    return layers
