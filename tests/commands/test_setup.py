"""Setting up .venv: done once, repaired when half-made, and a failure is one sentence with its remedy."""

import os
import signal
import subprocess
import sys
import time

import pytest

SET_UP = [
    "[pip][install][--progress-bar][off][-r][requirements.txt]",
    "[pip][install][--no-deps][--no-build-isolation][-e][.]",
]
FROM_SCRATCH = ["venv with 3.11.7", *SET_UP]


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_first_call_installs_and_the_second_does_nothing(book):
    book.add_python("python3")
    first = book.make("setup")
    assert first.returncode == 0, first.stderr
    assert book.calls == FROM_SCRATCH
    assert len(first.stdout.splitlines()) == 2  # what it does, and that it is done
    assert book.make("setup").returncode == 0
    assert book.calls == FROM_SCRATCH


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_change_of_what_is_asked_for_installs_into_the_same_environment(book, name):
    book.add_python("python3")
    book.make("setup")
    with (book.root / name).open("a") as file:
        file.write("# changed\n")
    assert book.make("setup").returncode == 0
    assert book.calls == FROM_SCRATCH + SET_UP


def test_without_python_it_says_what_to_install(book):
    assert "No Python 3.11 or newer was found here: install one" in book.refusal("setup")
    assert not (book.root / ".venv").exists()


def test_with_an_old_python_only_it_names_its_version(book):
    book.add_python("python3", "3.9.2")
    assert "No Python 3.11 or newer was found here, only Python 3.9.2: install one" in book.refusal("setup")


def test_a_python_that_does_not_run_is_passed_over(book):
    """As pyenv's shims and the Windows store's stub: found on the PATH, but they fail."""
    book.add_script("python3.13", "#!/bin/sh\necho 'python3.13: command not found' >&2\nexit 127\n")
    book.add_script("python3.12", "#!/bin/sh\nexit 0\n")
    book.add_python("python3", "3.9.2")
    book.add_python("python")
    assert book.make("setup").returncode == 0
    assert book.calls == FROM_SCRATCH


def test_a_python_without_venv_is_named_with_the_package_to_install(book):
    bare = book.add_python("python3", lacks="ensurepip")
    sentence = book.refusal("setup")
    assert str(bare) in sentence
    assert "sudo apt install python3-venv" in sentence


def test_the_python_that_is_named_is_used_even_when_another_made_the_environment(book):
    book.add_python("python3")
    other = book.add_python("my-python", "3.12.1")
    book.make("setup")
    assert book.make("setup", PYTHON=str(other)).returncode == 0
    assert book.calls == [*FROM_SCRATCH, "venv with 3.12.1", *SET_UP]
    assert book.make("setup").returncode == 0
    assert book.make("setup", PYTHON=str(other)).returncode == 0
    assert len(book.calls) == 6


@pytest.mark.parametrize(
    ("version", "reason"), [("3.9.2", "is Python 3.9.2"), (None, "is not a Python that runs")]
)
def test_a_named_python_that_will_not_do_is_refused_not_replaced(book, version, reason):
    book.add_python("python3")
    if version:
        book.add_python("my-python", version)
    assert f"PYTHON=my-python {reason}" in book.refusal("setup", PYTHON="my-python")
    assert book.calls == []


def test_a_full_disk_is_said_and_the_environment_is_made_anew(book):
    book.add_python("python3")
    book.let_pip("echo 'ERROR: Could not install: [Errno 28] No space left on device'; exit 1")
    assert "The disk is full: make room for 3 GB" in book.refusal("book")
    book.let_pip("")
    assert book.make("setup").returncode == 0
    assert book.calls.count("venv with 3.11.7") == 2


def test_an_unknown_failure_quotes_pip_and_names_the_log(book):
    book.add_python("python3")
    book.let_pip("echo 'ERROR: the wheel is square'; exit 1")
    assert "ERROR: the wheel is square" in (sentence := book.refusal("setup"))
    assert "_build/setup.log" in sentence
    assert "the wheel is square" in (book.root / "_build" / "setup.log").read_text()


def test_an_update_without_a_network_leaves_the_environment_for_the_next_call(book):
    book.add_python("python3")
    book.make("setup")
    with (book.root / "requirements.txt").open("a") as file:
        file.write("another-package==2.0\n")
    book.let_pip(
        "echo 'WARNING: Retrying after connection broken by NameResolutionError: Temporary failure'; exit 1"
    )
    assert "check the network" in book.refusal("setup")
    book.let_pip("")
    assert book.make("setup").returncode == 0
    assert book.calls.count("venv with 3.11.7") == 1


def test_without_a_network_the_real_pip_ends_in_one_sentence(book):
    """A real environment and a real pip, whose proxy does not answer; then no index at all."""
    (book.path / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    proxy = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "PIP_RETRIES": "1"}
    assert "could not be downloaded: check the network" in book.refusal("setup", **proxy)
    made = (book.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    assert "pip finds no a-package-of-the-book==1.0 for Python 3" in book.refusal("setup", PIP_NO_INDEX="1")
    assert (book.root / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == made


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_set_up_is_repaired_by_the_next_call(book, number):
    book.add_python("python3")
    book.let_pip("sleep 60")
    command = [str(book.path / "make"), "setup"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=book.root, env=book.environment(), stderr=pipe, text=True, start_new_session=True
    ) as process:
        wait_for(lambda: len(book.calls) == 2)
        os.killpg(process.pid, number)
        said = process.communicate(timeout=20)[1]
    assert process.returncode != 0
    assert ("The set-up was interrupted" in said) == (number == signal.SIGINT)
    book.let_pip("")
    assert book.make("setup").returncode == 0
    assert book.calls[2:] == FROM_SCRATCH


def test_a_broken_environment_is_made_anew(book):
    book.add_python("python3")
    book.make("setup")
    (book.root / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    assert book.make("setup").returncode == 0
    assert book.calls == FROM_SCRATCH + FROM_SCRATCH


def test_two_set_ups_do_not_write_at_the_same_time(book):
    book.add_python("python3")
    (book.root / ".venv").mkdir()
    (book.root / ".venv" / ".unfinished").write_text(f"{os.getpid()}\n")
    assert f"Another set-up is at work here (process {os.getpid()})" in book.refusal("setup")
    assert book.calls == []


def test_a_folder_that_cannot_be_written_to_is_said(public_book):
    public_book.add_python("python3")
    public_book.root.chmod(0o555)
    somebody_else = 65534 if os.geteuid() == 0 else None  # root may write anywhere
    sentence = public_book.refusal("setup", user=somebody_else)
    assert sentence.startswith(f"The folder {public_book.root} cannot be written to: copy the book")
