#!/bin/sh
# The GPU tests and GPU benchmarks, with any Python that holds a CUDA build of torch and pytest: no .venv, no Jupyter.
#
# Only the test modules that mark a test with `gpu` are imported, so the other tests' packages may be missing.
set -u
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

command -v "$python" >/dev/null || {
    echo "There is no $python here: name the Python that holds torch, as in make gpu PYTHON=/path/to/python3" >&2
    exit 1
}
"$python" -c '
import importlib.util, platform, sys
for name in ("torch", "pytest"):
    if importlib.util.find_spec(name) is None:
        sys.exit(f"{sys.executable} has no {name}: install it there, or name another: make gpu PYTHON=/path/to/python3")
import torch
if not torch.cuda.is_available():
    sys.exit(f"No CUDA device: torch {torch.__version__} of {sys.executable} sees none, so no GPU test was run.")
print(f"GPU tests and benchmarks on {torch.cuda.get_device_name()}, torch {torch.__version__}, Python {platform.python_version()} ...")
' || exit 1

tests=$(grep -rl --include='test_*.py' 'mark\.gpu' tests)
if [ -n "$tests" ]; then
    # The names of test modules hold no spaces.
    # shellcheck disable=SC2086
    "$python" -m pytest -m gpu $tests || exit 1
else
    echo "There are no GPU tests."
fi

for file in benchmarks/gpu/*.py; do
    grep -q __main__ "$file" 2>/dev/null || continue
    name=$(basename "$file" .py)
    echo "GPU benchmark: $name ..."
    "$python" -m "benchmarks.gpu.$name" || exit 1
done
