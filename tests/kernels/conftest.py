"""How a kernel is judged, on a GPU or in Triton's interpreter on the CPU (see test_interpreter.py)."""

import os

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
# The interpreter rounds to bfloat16 towards zero, as no GPU does.
DTYPES = ["float32", "float16"] if INTERPRETED else ["float32", "float16", "bfloat16"]


@pytest.fixture
def device():
    return "cpu" if INTERPRETED else "cuda"


@pytest.fixture(params=DTYPES)
def dtype(request):
    return getattr(torch, request.param)


@pytest.fixture
def randn(device):
    """Random tensors, the same in each run of a test."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape, dtype: torch.randn(shape, generator=generator).to(device, dtype)


def run(function, inputs, output_gradients):
    """The outputs of a function, and the gradients of its inputs."""
    inputs = [x.detach().requires_grad_() for x in inputs]  # keeps the strides
    out = function(*inputs)
    out = out if isinstance(out, tuple) else (out,)
    gradients = [gradient.to(y.dtype) for gradient, y in zip(output_gradients, out, strict=True)]
    return out, torch.autograd.grad(out, inputs, gradients)


def largest(x, by_row):
    """The largest absolute value in each row, or in all."""
    return x.abs().amax(-1) if by_row and x.dim() else x.abs().amax()


@pytest.fixture
def compare(randn):
    """Hold a kernel against float64, with the error of PyTorch's own operations in its dtype as the measure.

    In no row may a result be more than twice as far off as PyTorch's, a gradient three times, but for a unit in the
    last place of the row's largest number: four in float32, where a GPU's own exponential may be two units off.
    Where each number depends on many rows, the errors of all of them are taken together (``by_row=False``).
    """

    def compare(kernel, pytorch, *inputs, truth=None, by_row=True):
        dtype = inputs[0].dtype
        out = pytorch(*inputs)
        out = out if isinstance(out, tuple) else (out,)
        gradients = [randn(*y.shape, dtype=dtype) for y in out]
        found = run(kernel, inputs, gradients)
        theirs = run(pytorch, inputs, gradients)
        exact = run(truth or pytorch, [x.double() for x in inputs], gradients)
        for factor, ours, peers, truths in zip((2, 3), found, theirs, exact, strict=True):
            for x, peer, true in zip(ours, peers, truths, strict=True):
                assert x.shape == true.shape
                kind = torch.finfo(dtype)
                last_place = kind.eps * largest(true, by_row).clamp(min=kind.smallest_normal)
                found_error, peer_error = (largest(y.double() - true, by_row) for y in (x, peer))
                bound = factor * peer_error + (4 if dtype == torch.float32 else 1) * last_place
                assert (found_error <= bound).all(), (found_error / bound).max()

    return compare
