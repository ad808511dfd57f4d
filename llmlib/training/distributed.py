"""The same training in several processes: one for each device, started by ``torchrun`` (Chapter 3).

Every process works through its part of the batch. With DDP each holds all the weights; with FSDP2 each holds
a part of them and borrows the rest, block by block, when it needs them.
"""

import atexit
import contextlib
import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class World:
    """The processes that train one model.

    Attributes:
        device: Where this process computes.
        rank: Which process this is, from 0.
        size: How many there are.
        launched: Whether ``torchrun`` started them; otherwise there is this one alone.
    """

    device: torch.device
    rank: int = 0
    size: int = 1
    launched: bool = False

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a tensor over all processes, which must all call; the same in each."""
        if self.launched:
            dist.all_reduce(value)
            value /= self.size
        return value

    def agree(self, value: float) -> float:
        """The value of the first process, in each: clocks differ."""
        if not self.launched:
            return value
        shared = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(shared, src=0)
        return float(shared)

    def wait(self) -> None:
        """Return when every process has come here."""
        self.agree(0.0)

    def seed(self, seed: int, step: int) -> None:
        """Seed PyTorch for one step: the random numbers of a step do not depend on those before it."""
        mixed = np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed[0]))


def join(model: nn.Module) -> World:
    """Find out who trains with us.

    Under ``torchrun`` the processes meet: with NCCL, each on a device of its own, where there is CUDA, and
    with Gloo on the CPU elsewhere. Without it there is one process, which stays where the model is.

    Args:
        model: The model to train.

    Returns:
        The processes.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched():
        return World(next(model.parameters()).device)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)  # not before: shared weights can still be asked for
    return World(device, dist.get_rank(), dist.get_world_size(), launched=True)


def share(model: nn.Module, engine: str, world: World) -> nn.Module:
    """Prepare a model for training in several processes.

    All start from the weights of the first process. With ``"fsdp"`` the weights of ``model`` itself become
    shared, so a model that fills the memory of the host, and of no device, can be trained.

    Args:
        model: The model.
        engine: ``"ddp"`` or ``"fsdp"``.
        world: The processes.

    Returns:
        What to call in place of the model: it averages the gradients of all processes.
    """
    if not world.launched:
        return model
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor, src=0)
    if engine == "ddp":
        model.to(world.device)
        return DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in reversed(list(model.modules())):  # what is inside a block before the block
        if isinstance(module, nn.ModuleList):
            for block in module:
                fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def average_gradients(engine: nn.Module, average: bool) -> contextlib.AbstractContextManager[None]:
    """Whether the next backward pass averages gradients over the processes: the last of a batch is enough.

    Args:
        engine: What :func:`share` gave.
        average: Whether to do it.

    Returns:
        A context for the forward and the backward pass.
    """
    if isinstance(engine, DistributedDataParallel) and not average:
        return engine.no_sync()
    synchronise = getattr(engine, "set_requires_gradient_sync", None)
    if synchronise is not None:  # FSDP2
        synchronise(average)
    return contextlib.nullcontext()
