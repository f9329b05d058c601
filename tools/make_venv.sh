#!/bin/sh
# Makes a virtual environment with the pinned pip: make_venv.sh FOLDER
# $PYTHON names the interpreter; by default the first python3 of at least 3.11 on the PATH.
set -eu
folder=$1

supported() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

for python in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if supported "$python"; then
        break
    fi
    python=
done
if [ -z "$python" ]; then
    found=$("${PYTHON:-python3}" --version 2>/dev/null) || found="not found"
    echo "Python 3.11 or newer is needed; ${PYTHON:-python3} is $found." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot make virtual environments: its venv or ensurepip module is missing." >&2
    echo "On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi
echo "Making $folder with $("$python" --version); this takes a minute."
"$python" -m venv "$folder"
# Below 25.1 pip knows no dependency groups.
"$folder/bin/python" -m pip install --quiet -c constraints.txt 'pip>=25.1'
