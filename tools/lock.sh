#!/bin/sh
# Write requirements.txt: every package that pyproject.toml's dependencies, extras and groups need, pinned. Called by
# `make lock`; the versions that are there stay unless --upgrade is given.
set -eu
cd "$(dirname "$0")/.."

resolved=_build/lock.txt
mkdir -p _build
cp requirements.txt "$resolved"
sh tools/python.sh -m pip install --quiet --disable-pip-version-check uv==0.13.8
sh tools/python.sh -m uv pip compile pyproject.toml --quiet --no-header --output-file "$resolved" \
    --universal --python-version 3.11 --all-extras --group book --group test "$@"

{
    cat <<'HEADER'
# Every package of the book, its tests and its benchmarks, for Linux, macOS and Windows on Python 3.11 to 3.13.
# Written by `make lock` from pyproject.toml; do not edit.
# Left out: nvidia-* and cuda-*. The CUDA builds of torch for Linux name the versions they need; the others need none.
HEADER
    # A pin and the indented comments under it go together. Emscripten is none of the book's systems.
    awk '/^[^ ]/ { keep = !/^(nvidia|cuda)-/ && !/sys_platform == .emscripten/ } keep' "$resolved"
} >requirements.txt.new
mv requirements.txt.new requirements.txt
