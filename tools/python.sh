#!/bin/sh
# Run the Python of .venv, wherever this system keeps it: sh tools/python.sh -m pytest
root=$(dirname "$0")/..
for python in "$root/.venv/bin/python" "$root/.venv/Scripts/python.exe"; do
    [ -x "$python" ] && exec "$python" "$@"
done
echo "There is no Python in .venv: run make setup first." >&2
exit 1
