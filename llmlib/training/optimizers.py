"""Which optimiser moves which weight: Muon the matrices, AdamW the rest."""

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from llmlib.training.config import TrainConfig
from llmlib.training.muon import Muon


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that Muon is made for: the matrices of the repeated blocks (Chapter 3).

    Muon gives a step's update the same length in every direction of a matrix. That suits a matrix that maps
    hidden vectors to hidden vectors, and not an embedding, the output layer, a norm's gain or a bias, whose
    rows or numbers each stand for themselves (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).
    The blocks are found by the ``nn.ModuleList`` that holds them.

    Args:
        model: Any model.

    Returns:
        The matrices by name, each once, in the model's order.
    """
    in_blocks: set[Tensor] = set()
    embeddings: set[Tensor] = set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList):
            in_blocks.update(weight for weight in module.parameters() if weight.ndim == 2)
        if isinstance(module, nn.Embedding):
            embeddings.add(module.weight)
    found = in_blocks - embeddings
    return {name: weight for name, weight in model.named_parameters() if weight in found}


def build_optimizers(model: nn.Module, config: TrainConfig) -> list[Optimizer]:
    """Make the optimisers of a run (Chapter 3).

    Weights that do not require a gradient are left alone, and weight decay pulls on matrices and embeddings
    only: a gain or a bias has no reason to be small.

    Args:
        model: The model.
        config: Its ``optimizer``, learning rates and weight decay are used.

    Returns:
        Muon (unless the configuration is ``"adamw"``) and AdamW.

    Raises:
        ValueError: Muon is asked for and the model has no matrix in a block, or no weight wants a gradient.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if not trained:
        raise ValueError("No weight of the model requires a gradient: there is nothing to train.")
    by_muon = set(matrices(model).values()).intersection(trained) if config.optimizer == "muon" else set()
    if config.optimizer == "muon" and not by_muon:
        raise ValueError(
            f"Muon trains the matrices in an nn.ModuleList of blocks, and {type(model).__name__} has none to "
            'train. Use optimizer="adamw".'
        )
    optimizers: list[Optimizer] = []
    if by_muon:
        in_order = [weight for weight in trained if weight in by_muon]
        optimizers.append(Muon(in_order, lr=config.learning_rate, weight_decay=config.weight_decay))
    rest = [weight for weight in trained if weight not in by_muon]
    groups = [
        {"params": [weight for weight in rest if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in rest if weight.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if groups:
        optimizers.append(AdamW(groups, lr=config.adamw_learning_rate, betas=(0.9, 0.95), fused=True))
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["initial_lr"] = group["lr"]
    return optimizers


def set_learning_rate(optimizers: list[Optimizer], factor: float) -> None:
    """Set every learning rate to ``factor`` times its peak."""
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = factor * group["initial_lr"]
