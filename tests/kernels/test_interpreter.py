"""The tests of the kernels, run on the CPU in Triton's interpreter.

Triton decides when it is imported whether it interprets, and so for a whole process: these tests get their own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_the_kernels_in_the_interpreter():
    pytest.importorskip("triton", reason="there is no Triton for this system: it is for Linux")
    names = ("rms_norm", "swiglu", "rope", "cross_entropy", "flash_attention")
    command = [sys.executable, "-m", "pytest", "-q", *(HERE / f"test_{name}.py" for name in names)]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout.splitlines()[-1], done.stdout
