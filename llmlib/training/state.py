"""Models and optimisers as checkpoints hold them: tensors by name, whole even where processes share them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers of a model by name. Of tied weights the first name counts."""
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor))
    return dict(found.values())


def optimizer_tensors(model: nn.Module, optimizers: list[Optimizer]) -> dict[str, Tensor]:
    """What the optimisers remember, such as momentum, by ``name of the weight/name of the quantity``."""
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    return {
        f"{names[weight]}/{quantity}": tensor
        for optimizer in optimizers
        for weight, remembered in optimizer.state.items()
        for quantity, tensor in remembered.items()
    }


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together, if its parts lie in several processes; then all of them must call."""
    return tensor.full_tensor() if _is_shared(tensor) else tensor


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each :func:`whole`."""
    return {name: whole(tensor).detach().cpu().clone() for name, tensor in tensors.items()}


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str | None:
    """In what two sets of tensors differ in names or shapes, or None."""
    if missing := sorted(expected.keys() - found.keys()):
        return f"{len(missing)} tensors are missing, the first of them {missing[0]}"
    if unknown := sorted(found.keys() - expected.keys()):
        return f"{len(unknown)} tensors are unknown, the first of them {unknown[0]}"
    for name, tensor in expected.items():
        if tensor.shape != found[name].shape:
            return f"{name} has the shape {tuple(found[name].shape)}, but the model has {tuple(tensor.shape)}"
    return None


@torch.no_grad()
def restore_model(model: nn.Module, saved: Mapping[str, Tensor]) -> None:
    """Give a model the weights of :func:`copies`, in place."""
    for name, tensor in model_tensors(model).items():
        tensor.copy_(_like(tensor, saved[name]))


def restore_optimizers(model: nn.Module, optimizers: list[Optimizer], saved: Mapping[str, Tensor]) -> None:
    """Give optimisers that have not made a step the memory of :func:`copies`."""
    names = {weight: name for name, weight in model.named_parameters()}
    remembered: dict[str, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        name, quantity = key.rsplit("/", 1)
        remembered.setdefault(name, {})[quantity] = tensor
    for optimizer in optimizers:
        document: dict[str, Any] = optimizer.state_dict()
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        document["state"] = {
            number: {
                quantity: _like(weight, tensor) if tensor.shape == weight.shape else tensor
                for quantity, tensor in remembered[names[weight]].items()
            }
            for number, weight in enumerate(weights)
            if names[weight] in remembered
        }
        optimizer.load_state_dict(document)


def _like(target: Tensor, tensor: Tensor) -> Tensor:
    """``tensor`` on the device of ``target``, and shared out as ``target`` is."""
    if _is_shared(target):
        from torch.distributed.tensor import distribute_tensor

        placed = tensor.to(target.device_mesh.device_type)
        return distribute_tensor(placed, target.device_mesh, target.placements, src_data_rank=None)
    return tensor.to(target.device)


def _is_shared(tensor: Tensor) -> TypeGuard["DTensor"]:
    """Whether a tensor is a ``DTensor``. Asked without importing that class, which takes half a second."""
    return hasattr(tensor, "device_mesh")
