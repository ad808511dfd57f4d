#!/bin/sh
# Make .venv ready: a virtual environment with the pinned packages and this checkout of llmlib.
#
# A call that finds everything in place does nothing. A failure ends in one sentence that says what to do; the
# installer's own words are in _build/setup.log.
set -u
cd "$(dirname "$0")/.." || exit 1

log=_build/setup.log
ready=.venv/.ready           # the key of what is installed
unfinished=.venv/.unfinished # the process at work; it stays behind when that process is killed

exec 3>&2 # an interruption may come where standard error goes to the log
fail() {
    printf '%s\n' "$*" >&3
    exit 1
}

venv_python() { sh tools/python.sh "$@" </dev/null; }

# The version of .venv's Python, and the key of what its content depends on; nothing if .venv does not work.
state() {
    venv_python -I -c '
import hashlib, pathlib, sys
import pip
files = [pathlib.Path(name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
place = f"{sys.version} {sys.prefix}".encode()
key = hashlib.sha256(b"".join([*files, place])).hexdigest()
sys.stdout.write("{}.{}.{} {}".format(*sys.version_info[:3], key))' 2>/dev/null
}

# Python 2, too, must be able to answer this.
question='
import sys
fitness = "fit"
if sys.version_info < (3, 11):
    fitness = "old"
else:
    try:
        import ensurepip, venv
    except ImportError:
        fitness = "bare"
version = ".".join(str(number) for number in sys.version_info[:3])
sys.stdout.write(" ".join([fitness, version, getattr(sys, "_base_executable", sys.executable)]))'

# A candidate is run, not only looked up: a name on the PATH may be a stub that fails.
consider() {
    answer=$("$@" -c "$question" 2>/dev/null </dev/null) || return 1
    found=${answer#* }
    case $answer in
    "fit "*) version=${found%% *} python=${found#* } && return 0 ;;
    "old "*) old="Python ${found%% *}" ;;
    "bare "*) bare=${found#* } ;;
    esac
    return 1
}

# Set python and version to the first Python that will do.
find_python() {
    old='' bare=''
    if [ -n "${PYTHON:-}" ]; then
        consider "$PYTHON" && return
    else
        for candidate in python3.13 python3.12 python3.11 python3 python; do
            consider "$candidate" && return
        done
        consider py -3 && return
    fi
    [ -z "$bare" ] || fail "The Python at $bare lacks the venv module: install it (on Debian and Ubuntu:" \
        "sudo apt install python3-venv), then call the same command again."
    [ -z "${PYTHON:-}" ] || fail "PYTHON=$PYTHON is ${old:-not a Python that runs}, and the book needs Python 3.11" \
        "or newer: name another, or leave PYTHON unset."
    fail "No Python 3.11 or newer was found here${old:+, only $old}: install one (from python.org, with sudo apt" \
        "install python3 python3-venv, or with brew install python@3.13), or name it: make setup PYTHON=/path/to/python3"
}

# A killed process can stay in the table, as a zombie that no one has asked about.
is_alive() { kill -0 "$1" 2>/dev/null && ! grep -q ') Z ' "/proc/$1/stat" 2>/dev/null; }

disk_is_full() {
    grep -qiE 'no space left|errno 28|quota exceeded|not enough space' "$log" 2>/dev/null && return
    free=$(df -Pk . 2>/dev/null | awk 'NR == 2 { print $4 }')
    [ "${free:-1024}" -lt 1024 ] 2>/dev/null
}

fail_to_write() {
    disk_is_full && fail "The disk is full: make room for 3 GB here and in ${TMPDIR:-/tmp}, or 6 GB where torch" \
        "brings CUDA libraries, then call the same command again."
    fail "The folder $PWD cannot be written to: copy the book to a folder of your own and call make there."
}

# Say why an installation failed. Where pip changed nothing, .venv loses its mark, so that it is not made anew.
fail_to_install() {
    disk_is_full && fail_to_write
    if grep -qiE '(warning|error).*(connection|timed out|name resolution|getaddrinfo|unreachable|max retries|sslerror)' "$log"
    then
        rm -f "$unfinished"
        fail "The packages could not be downloaded: check the network (details in $log), then call the same command" \
            "again; what was downloaded is kept."
    fi
    missing=$(sed -n 's/^ERROR: No matching distribution found for //p' "$log" | head -n 1)
    if [ -n "$missing" ]; then
        rm -f "$unfinished"
        fail "pip finds no $missing for Python $version: check the network and pip's settings (PIP_NO_INDEX," \
            "PIP_INDEX_URL), or use Python 3.11, 3.12 or 3.13; then call the same command again."
    fi
    fail "The installation failed ($(grep -i error "$log" | tail -n 1 | cut -c -200)): see $log, then call the same" \
        "command again; it starts afresh."
}

version='' # of the Python that is wanted; a wish that cannot be met is refused at once
[ -z "${PYTHON:-}" ] || find_python
now=$(state)
have=${now%% *} # the version of the Python in a .venv that works
[ -z "$version" ] || [ "$version" = "$have" ] || have=''
if [ -f "$unfinished" ]; then
    other=$(cat "$unfinished")
    if [ "$other" != $$ ] && is_alive "$other"; then
        fail "Another set-up is at work here (process $other): wait until it has ended, or stop it and delete .venv."
    fi
    have=''
elif [ -n "$have" ] && [ "${now#* }" = "$(cat "$ready" 2>/dev/null)" ]; then
    exit 0
fi

mkdir -p _build 2>/dev/null && (: >"$log") 2>/dev/null || fail_to_write
trap 'fail "The set-up was interrupted: call the same command again, it starts afresh."' HUP INT TERM
if [ -n "$have" ]; then
    version=$have
    echo "Bringing .venv (Python $version) up to the pinned packages (details in $log) ..."
    echo $$ >"$unfinished"
else
    find_python
    echo "Setting up .venv with Python $version and the pinned packages, once: some minutes and 3 GB, or 6 GB where" \
        "torch brings CUDA libraries (details in $log) ..."
    { rm -rf .venv && mkdir .venv && echo $$ >"$unfinished"; } 2>/dev/null || fail_to_write
    "$python" -m venv .venv >>"$log" 2>&1 </dev/null || fail_to_install
fi

rm -f "$ready"
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
venv_python -m pip install --progress-bar off -r requirements.txt >>"$log" 2>&1 || fail_to_install
# setuptools is among the pins: the package is built with it, without fetching another.
venv_python -m pip install --no-deps --no-build-isolation -e . >>"$log" 2>&1 || fail_to_install
now=$(state)
echo "${now#* }" >"$ready.new" && mv "$ready.new" "$ready" && rm -f "$unfinished"
