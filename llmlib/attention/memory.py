"""How much memory a computation needs at once, counted tensor by tensor (Chapter 6)."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that come into being inside it, and the most that there were at once.

    A tensor counts until nothing refers to it any more. What was there before is left out, and so is what an operation
    needs inside itself: of a fused kernel, its inputs and outputs count.

    >>> with PeakMemory() as memory:
    ...     out = attention(q, k, v, backend="tiled")
    >>> memory.peak

    Attributes:
        now: Bytes that are there now.
        peak: The most bytes that were there at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count the memory of its results that is new."""
        old = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and id(x.untyped_storage()) not in self._known | old:
                self._count(x.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        self._known.add(id(storage))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, id(storage), storage.nbytes())

    def _forget(self, identity: int, size: int) -> None:
        self._known.discard(identity)
        self.now -= size
