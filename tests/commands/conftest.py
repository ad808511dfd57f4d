"""A copy of the commands in a temporary folder, on a PATH that holds only what a test puts there."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = "awk basename cat cp cut df dirname find grep head ls make mkdir mv rm sed sh sleep tail"

# A stand-in for Python. It claims a version, makes environments of itself, and writes down what pip or
# another module is asked, instead of doing it. Any program given to it is run by the Python of the tests.
STAND_IN = """#!/bin/sh
[ "$1" != -I ] || shift
case "$1 $2" in
"-m venv")
    echo "venv with {version}" >>{calls}
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
"-m "*)
    shift
    for word in "$@"; do printf '[%s]' "$word"; done >>{calls}
    echo >>{calls}
    [ "$1" != pip ] || [ ! -f {pip} ] || . {pip} ;;
"-c "*)
    program=$2
    shift 2
    exec {python} -c '
import sys
sys.version_info = ({numbers}, "final", 0)
sys._base_executable = sys.executable = sys.argv.pop(1)
{lacks}
program = sys.argv.pop(1)
exec(program)' "$0" "$program" "$@" ;;
*.py*)
    echo "[$*]" >>{calls} ;;
*)
    exec {python} "$@" ;;
esac
"""


class Book:
    """A temporary copy of the commands, and what its stand-ins for Python were asked."""

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self.path = root, path
        self.calls_file, self.pip_file = path / "calls.txt", path / "pip.sh"

    def add_python(self, name: str, version: str = "3.11.7", lacks: str = "") -> Path:
        """Put a stand-in on the PATH; `lacks` names a module that it cannot import."""
        values = {
            "version": version,
            "numbers": version.replace(".", ", "),
            "lacks": f'sys.modules["{lacks}"] = None' if lacks else "",
            "python": shlex.quote(sys.executable),
            "calls": shlex.quote(str(self.calls_file)),
            "pip": shlex.quote(str(self.pip_file)),
        }
        return self.add_script(name, STAND_IN.format(**values))

    def add_script(self, name: str, text: str) -> Path:
        """Put a program on the PATH."""
        script = self.path / name
        script.write_text(text)
        script.chmod(0o755)
        return script

    def let_pip(self, script: str) -> None:
        """Let the stand-ins' pip run these shell lines; an empty text lets it succeed again."""
        self.pip_file.write_text(script)

    @property
    def calls(self) -> list[str]:
        """What was asked of the stand-ins so far, one line each."""
        return self.calls_file.read_text().splitlines() if self.calls_file.exists() else []

    def environment(self, **variables: str) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**inherited, "PATH": str(self.path), "PIP_CONFIG_FILE": os.devnull, **variables}

    def make(
        self, *words: str, user: int | None = None, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Call make as a person would."""
        command = [str(self.path / "make"), "--no-print-directory", *words]
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(**variables),
            user=user,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def refusal(self, *words: str, **options: Any) -> str:
        """Call make, expect it to fail, and return the one line that says why."""
        done = self.make(*words, **options)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stdout + done.stderr
        lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
        assert len(lines) == 1, done.stderr
        return lines[0]


def copy_commands(folder: Path) -> Book:
    """The commands in `folder`, on a machine without any Python."""
    root, path = folder / "the book", folder / "bin"
    (root / "tools").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    for script in (ROOT / "tools").glob("*.sh"):
        shutil.copy(script, root / "tools")
    (root / "pyproject.toml").write_text('[project]\nname = "llmlib"\nversion = "1"\n')
    (root / "requirements.txt").write_text("a-package-of-the-book==1.0\n")
    path.mkdir()
    for tool in TOOLS.split():
        found = shutil.which(tool)
        assert found, f"the commands of the book need {tool}"
        (path / tool).symlink_to(found)
    return Book(root, path)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A copy of the commands that this test may do anything with."""
    if os.name == "nt":
        pytest.skip("the stand-ins are shell scripts, which Windows does not run by name")
    return copy_commands(tmp_path)


@pytest.fixture
def public_book(book: Book) -> Iterator[Book]:
    """The same in a folder that every user of this machine can enter."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(book.root.parent, folder, symlinks=True, dirs_exist_ok=True)
        os.chmod(folder, 0o755)
        yield Book(Path(folder, book.root.name), Path(folder, book.path.name))
