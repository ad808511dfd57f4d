"""Who may know whom: each room imports only rooms to its left, and nothing that a reader may lack."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmlib"

CHAIN = [
    "kernels",
    "attention",
    "layers",
    "models",
    ("generation", "training"),
    ("adaptation", "alignment", "editing"),
]
ALONE = {"corpora", "tokenizers", "scaling", "runtime", "evidence"}


def allowed_imports() -> dict[str, set[str]]:
    """For each room of the package, the other rooms that it may import."""
    allowed: dict[str, set[str]] = {room: set() for room in ALONE}
    left: set[str] = set()
    for link in CHAIN:
        rooms = {link} if isinstance(link, str) else set(link)
        for room in rooms:
            # What computes may ask for the device and the seed; the parts below `models` are told.
            allowed[room] = left | ({"runtime"} if "models" in left | rooms else set())
        left |= rooms
    allowed["figures"] = set(allowed) - {"evidence"}
    return allowed


ALLOWED = allowed_imports()
ROOMS = sorted(
    path.stem
    for path in PACKAGE.iterdir()
    if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
)
ROOMS.remove("__init__")


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]


def imports(source: str, package: str) -> Iterator[str]:
    """The full name of all that ``source`` imports anywhere, also inside functions.

    Args:
        source: A module.
        package: The package that it is in, for relative imports.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imports_of(room: str) -> set[str]:
    found: set[str] = set()
    for file in files(room):
        if file.name == "__main__.py":
            continue  # a command puts rooms together, as a chapter does
        package = ".".join(file.relative_to(PACKAGE.parent).parent.parts)
        found |= set(imports(file.read_text(encoding="utf-8"), package))
    return found


def test_how_imports_are_found():
    source = """
import torch.nn, os
from llmlib import corpora
from llmlib.layers.norms import RMSNorm
from . import masks
from .masks import causal
from ..kernels import rope
def f():
    if True:
        import triton
"""
    assert list(imports(source, "llmlib.attention")) == [
        "torch.nn",
        "os",
        "llmlib.corpora",
        "llmlib.layers.norms.RMSNorm",
        "llmlib.attention.masks",
        "llmlib.attention.masks.causal",
        "llmlib.kernels.rope",
        "triton",
    ]


def test_what_the_order_allows():
    assert ALLOWED["kernels"] == ALLOWED["corpora"] == ALLOWED["tokenizers"] == ALLOWED["scaling"] == set()
    assert ALLOWED["attention"] == {"kernels"}
    assert ALLOWED["layers"] == {"kernels", "attention"}
    assert ALLOWED["models"] == {"kernels", "attention", "layers", "runtime"}
    assert ALLOWED["generation"] == ALLOWED["training"] == ALLOWED["models"] | {"models"}
    assert ALLOWED["editing"] == ALLOWED["training"] | {"generation", "training"}
    assert not any({"figures", "evidence"} & rooms for rooms in ALLOWED.values())


def test_every_room_has_its_place_in_the_order():
    unknown = set(ROOMS) - set(ALLOWED)
    assert not unknown, (
        f"{unknown} are no rooms of the design: give each its place in this test, or move the code"
    )


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_to_its_left(room):
    others = {name.split(".")[1] for name in imports_of(room) if name.startswith("llmlib.")}
    refused = others - ALLOWED[room] - {room, "__version__"}
    assert not refused, f"llmlib.{room} imports {refused}, but may import only {ALLOWED[room] or 'no room'}"


def test_kernels_import_torch_and_triton_only():
    if "kernels" not in ROOMS:
        pytest.skip("there are no kernels yet")
    packages = {name.split(".")[0] for name in imports_of("kernels")} - sys.stdlib_module_names
    assert packages <= {"torch", "triton", "llmlib"}


LOAD = """
import importlib, json, sys
modules, blocked = sys.argv[1].split(","), sys.argv[2].split(",")
sys.modules.update(dict.fromkeys(blocked))
before = set(sys.modules)
for module in modules:
    importlib.import_module(module)
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(loaded - sys.stdlib_module_names - set(blocked))))
"""
OPTIONAL = (
    "matplotlib",
    "anywidget",
    "ipywidgets",
    "traitlets",
    "IPython",
    "triton",
    "datasets",
    "tokenizers",
)

# All that the import of these rooms may load, so that it is quick: torch alone takes seconds.
ARRAYS = {"numpy", "jaxtyping", "wadler_lindig"}
LIGHT = {
    "runtime": set(),
    "evidence": set(),
    "figures": set(),
    "corpora": ARRAYS | {"tqdm", "filelock"},
    "tokenizers": ARRAYS | {"tqdm", "regex", "_regex", "filelock"},
    "scaling": ARRAYS | {"tqdm"},
}


def loaded_by(*modules: str) -> set[str]:
    """The packages that the import of ``modules`` loads in a fresh Python that lacks all optional ones."""
    command = [sys.executable, "-c", LOAD, ",".join(modules), ",".join(OPTIONAL)]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_importing_llmlib_loads_no_package():
    assert loaded_by("llmlib") == {"llmlib"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_imported_without_what_a_reader_may_lack(room):
    modules = [f"llmlib.{room}"]
    # The modules of these two are there for those who have the packages.
    if room not in ("figures", "kernels"):
        paths = [file.relative_to(PACKAGE.parent).with_suffix("") for file in files(room)]
        modules += [".".join(path.parts).removesuffix(".__init__") for path in paths]
    loaded = loaded_by(*modules)
    assert "llmlib" in loaded
    assert room not in LIGHT or loaded <= LIGHT[room] | {"llmlib"}
