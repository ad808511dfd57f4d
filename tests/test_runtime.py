"""The device, the number type, the seeds and the budget are what the machine and the environment say."""

import os
import random
import types

import numpy as np
import pytest
import torch

from llmlib import runtime


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine whose devices and environment a test sets, by default with neither GPU nor variables."""

    def has(*, gpus: int = 0, mps: bool = False, memory: float = 80, capability: tuple[int, int] = (9, 0)):
        properties = types.SimpleNamespace(total_memory=int(memory * 2**30))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    monkeypatch.delenv("LLMLIB_DEVICE", raising=False)
    monkeypatch.delenv("LLMLIB_BUDGET", raising=False)
    has()
    return has


class TestDevice:
    def test_cuda_comes_before_mps_before_cpu(self, machine):
        assert runtime.device() == torch.device("cpu")
        machine(mps=True)
        assert runtime.device() == torch.device("mps")
        machine(gpus=1, mps=True)
        assert runtime.device() == torch.device("cuda")

    @pytest.mark.parametrize("name", ["cpu", "mps", "cuda", "cuda:1"])
    def test_the_environment_overrides_it(self, machine, monkeypatch, name):
        machine(gpus=2, mps=True)
        monkeypatch.setenv("LLMLIB_DEVICE", name)
        assert runtime.device() == torch.device(name)

    @pytest.mark.parametrize("name", ["gpu", "cuda:2", "mps", "meta", "cuda:x"])
    def test_a_device_that_is_not_there_is_refused_with_those_that_are(self, machine, monkeypatch, name):
        machine(gpus=2)
        monkeypatch.setenv("LLMLIB_DEVICE", name)
        with pytest.raises(ValueError, match=rf"LLMLIB_DEVICE is '{name}'.*: cuda:0 … 1, cpu\. .*unset"):
            runtime.device()


def test_number_type(machine):
    assert runtime.dtype("cpu") == runtime.dtype(torch.device("mps")) == torch.float32
    assert runtime.dtype("cuda") == torch.bfloat16
    machine(gpus=1, capability=(7, 5))
    assert runtime.dtype("cuda") == torch.float32


class TestSeed:
    def draw(self) -> list[float]:
        return [random.random(), np.random.rand(), torch.rand(()).item()]

    def test_the_same_seed_gives_the_same_numbers_everywhere(self):
        draws = []
        for n in (1, 1, np.int64(1), 2):
            generator = runtime.seed(n)
            draws.append([*self.draw(), torch.rand((), generator=generator).item()])
        assert draws[0] == draws[1] == draws[2]
        assert all(first != other for first, other in zip(draws[0], draws[3], strict=True))

    @pytest.mark.parametrize("n", [-1, 2**32])
    def test_out_of_range(self, n):
        with pytest.raises(ValueError, match=f"but this is {n}"):
            runtime.seed(n)

    @pytest.mark.parametrize("n", [1.0, "1", None, True])
    def test_no_integer(self, n):
        with pytest.raises(TypeError, match="must be an integer"):
            runtime.seed(n)


class TestBudget:
    def test_two_cores_are_small(self):
        budget = runtime.budget()
        assert (budget.size, budget.device) == ("small", "cpu")
        assert budget.choose(small=1, large=2) == 1

    def test_a_gpu_is_large(self, machine):
        machine(gpus=1)
        budget = runtime.budget()
        assert (budget.size, budget.device, budget.memory) == ("large", "cuda", 80 * 2**30)
        assert budget.choose(small=1, large=2) == 2
        assert str(budget).startswith("large budget: cuda, ")

    def test_a_small_gpu_is_small(self, machine):
        machine(gpus=1, memory=8)
        assert runtime.budget().size == "small"

    @pytest.mark.parametrize("size", ["small", "large"])
    def test_the_environment_overrides_it(self, machine, monkeypatch, size):
        monkeypatch.setenv("LLMLIB_BUDGET", size)
        assert runtime.budget().size == size
        machine(gpus=1)
        assert runtime.budget().size == size

    def test_another_size_is_refused(self, monkeypatch):
        monkeypatch.setenv("LLMLIB_BUDGET", "huge")
        with pytest.raises(ValueError, match="LLMLIB_BUDGET is 'huge', but it must be 'small' or 'large'"):
            runtime.budget()

    def test_cores_and_memory_are_those_that_psutil_finds(self):
        psutil = pytest.importorskip("psutil")
        budget = runtime.budget()
        assert budget.memory == pytest.approx(psutil.virtual_memory().total, rel=0.01)
        assert budget.cores == len(psutil.Process().cpu_affinity())

    def test_a_system_that_tells_neither_cores_nor_memory(self, monkeypatch):
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        monkeypatch.delattr(os, "sysconf", raising=False)
        budget = runtime.budget()
        assert budget.cores == os.cpu_count()
        assert budget.memory is None
        assert "unknown memory" in str(budget)


@pytest.mark.gpu
def test_the_real_gpu_computes_in_the_type_that_is_chosen(monkeypatch):
    monkeypatch.undo()
    device = runtime.device()
    assert device.type == "cuda"
    assert runtime.budget().memory == torch.cuda.mem_get_info(device)[1]
    draws = []
    for _ in range(2):
        runtime.seed(0)
        draws.append(torch.rand(4, device=device, dtype=runtime.dtype(device)))
    assert torch.equal(*draws)
