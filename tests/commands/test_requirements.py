"""requirements.txt: every package pinned, on every system and Python that the book promises."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SYSTEMS = {
    "linux": {
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    },
    "macos": {
        "sys_platform": "darwin",
        "os_name": "posix",
        "platform_system": "Darwin",
        "platform_machine": "arm64",
    },
    "windows": {
        "sys_platform": "win32",
        "os_name": "nt",
        "platform_system": "Windows",
        "platform_machine": "AMD64",
    },
}
PYTHONS = ["3.11.9", "3.12.4", "3.13.1"]
TEXT = (ROOT / "requirements.txt").read_text()
PINS = [Requirement(line) for line in TEXT.splitlines() if line and not line.lstrip().startswith("#")]


def environment(system, python):
    short = python.rpartition(".")[0]
    names = {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return {**names, **SYSTEMS[system], "python_version": short, "python_full_version": python, "extra": ""}


def pins_on(system, python):
    """What pip installs there: one version of a package."""
    chosen = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(environment(system, python)):
            name = canonicalize_name(pin.name)
            assert name not in chosen, f"two versions of {name} on {system}, Python {python}"
            chosen[name] = str(pin.specifier).removeprefix("==")
    return chosen


def asked_for():
    """What pyproject.toml asks for: dependencies, extras and groups."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [table["project"]["dependencies"]]
    lists += table["project"]["optional-dependencies"].values()
    lists += table["dependency-groups"].values()
    return [Requirement(text) for texts in lists for text in texts]


def test_every_line_pins_one_exact_version():
    assert len(PINS) > 100
    assert [str(pin) for pin in PINS if not re.fullmatch(r"==[^=*,]+", str(pin.specifier))] == []


def test_no_address_of_an_index_and_no_path():
    assert not re.search(r"https?://|file:|index-url|find-links", TEXT)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_everything_that_is_asked_for_is_pinned_there_to_a_version_that_fits(system, python):
    chosen = pins_on(system, python)
    for requirement in asked_for():
        if requirement.marker is None or requirement.marker.evaluate(environment(system, python)):
            assert requirement.specifier.contains(chosen[canonicalize_name(requirement.name)]), requirement
    assert chosen["torch"] == "2.13.0"
    assert ("triton" in chosen) == (system == "linux")
    assert not [name for name in chosen if name.startswith(("nvidia-", "cuda-"))]


def test_this_environment_holds_the_pinned_versions():
    """Otherwise the tests say nothing about the book that readers get."""
    import platform
    import sys

    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform]
    wrong = {}
    for name, pinned in pins_on(system, platform.python_version()).items():
        try:
            installed = version(name).partition("+")[0]  # torch carries its build there: 2.13.0+cpu
        except PackageNotFoundError:
            installed = "missing"
        if installed != pinned:
            wrong[name] = f"{installed}, pinned: {pinned}"
    assert wrong == {}, "call make setup"
