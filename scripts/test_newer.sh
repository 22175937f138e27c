#!/usr/bin/env bash
# Runs the suite without the torch oracle on the newest Python above the one in .venv, if this machine has one.
# JAX supports Python 3.11 up to 0.10 only, so this is where newer JAX releases are tested.
set -euo pipefail
cd "$(dirname "$0")/.."

find_newer() {
    local version candidate
    for version in 3.14 3.13 3.12; do
        for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python; do
            # A pyenv shim exists for versions that are not switched on, so ask it to run.
            if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done
    done
}

newer=$(find_newer)
if [ -z "$newer" ]; then
    echo "no Python newer than 3.11 here: the suite ran on one interpreter"
    exit 0
fi
if [ ! -e .venv-newer/.installed ] || [ pyproject.toml -nt .venv-newer/.installed ]; then
    "$newer" -m venv --clear .venv-newer
    .venv-newer/bin/python -m pip install --quiet --editable ".[test]"
    touch .venv-newer/.installed
fi
.venv-newer/bin/python -c 'import jax, sys; print("Python", sys.version.split()[0], "JAX", jax.__version__)'
exec .venv-newer/bin/python -m pytest -n auto --dist worksteal -m "not demos and not once"
