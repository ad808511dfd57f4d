"""`make gpu`: any Python with torch and pytest will do, and only the GPU tests are touched."""

import shlex
import sys

import pytest

TORCH = """
__version__ = "2.11.0"
class cuda:
    is_available = staticmethod(lambda: {there})
    get_device_name = staticmethod(lambda: "a device")
"""
# Composed, so that this module is not taken for one with GPU tests.
MARK = "@pytest.mark." + "gpu"


@pytest.fixture
def gpu_book(book):
    """A copy of the commands beside a python3 that has pytest, and a torch that says what a test wants."""
    book.add_script("python3", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (book.root / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nmarkers = ["gpu: needs a device"]\n'
    )
    tests = book.root / "tests"
    tests.mkdir()
    tests.joinpath("test_elsewhere.py").write_text("import a_package_that_is_not_here\n")
    tests.joinpath("test_kernels.py").write_text(
        f"import pytest\n{MARK}\ndef test_kernel(): pass\ndef test_without_device(): pass\n"
    )
    return book


def test_without_a_device_it_says_so_and_fails(gpu_book):
    (gpu_book.root / "torch.py").write_text(TORCH.format(there=False))
    assert gpu_book.refusal("gpu").startswith("No CUDA device: torch 2.11.0 of ")


def test_without_torch_or_python_it_names_the_remedy(gpu_book):
    gpu_book.add_script("bare", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -S "$@"\n')
    assert "has no torch: install it there, or name another" in gpu_book.refusal("gpu", PYTHON="bare")
    assert gpu_book.refusal("gpu", PYTHON="nothing").startswith("There is no nothing here: name the Python")


def test_with_a_device_it_runs_the_gpu_tests_and_the_gpu_benchmarks(gpu_book):
    (gpu_book.root / "torch.py").write_text(TORCH.format(there=True))
    benchmarks = gpu_book.root / "benchmarks" / "gpu"
    benchmarks.mkdir(parents=True)
    benchmarks.joinpath("kernels.py").write_text('if __name__ == "__main__":\n    print("measured")\n')
    done = gpu_book.make("gpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on a device, torch 2.11.0" in done.stdout
    assert "1 passed, 1 deselected" in done.stdout
    assert "measured" in done.stdout
    assert not (gpu_book.root / ".venv").exists()
