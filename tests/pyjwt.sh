#!/usr/bin/env bash
# Installs PyJWT, a maker of tokens that is not ours, where the tests look for it. Only they use it.
set -euo pipefail

readonly VERSION=2.15.1 CRYPTOGRAPHY=46.0.3

if [ $# -ne 1 ] || [ "$1" = --help ]; then
    printf 'Usage: tests/pyjwt.sh DIRECTORY\n\nInstalls PyJWT %s into DIRECTORY (a Python virtual environment), if it is not there.\n' "$VERSION" >&2
    exit 64
fi
dir=$1
marker="$dir/installed-$VERSION-$CRYPTOGRAPHY"
[ -e "$marker" ] && exit

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 69
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
python3 -m venv "$dir" >"$log" 2>&1 || {
    cat "$log" >&2
    fail "python3 makes no virtual environment. On Debian: apt-get install python3-venv"
}
"$dir/bin/pip" install --quiet --disable-pip-version-check "PyJWT==$VERSION" "cryptography==$CRYPTOGRAPHY" >"$log" 2>&1 || {
    cat "$log" >&2
    fail "pip cannot install PyJWT $VERSION. It comes from the Python package index: is it reachable from here?"
}
touch "$marker"
