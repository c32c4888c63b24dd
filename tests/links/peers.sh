#!/usr/bin/env bash
# Installs the clients of other makers that the tests of links use, where the tests look for them: Python packages into
# DIRECTORY/python, Node packages into DIRECTORY/node_modules. Versions and hashes are those of the lock files here.
# To change them: uv pip compile --universal --python-version 3.11 --generate-hashes --no-annotate requirements.in -o requirements.txt, and npm install.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -ne 1 ] || [ "$1" = --help ]; then
    printf 'Usage: tests/links/peers.sh DIRECTORY\n\nInstalls the clients that the tests of links use into DIRECTORY, if they are not there.\n' >&2
    exit 64
fi
# A virtual environment works only where it was made: the marker has its directory.
dir=$(realpath -m "$1")
wanted=$(cat "$here/requirements.txt" "$here/package-lock.json" | sha256sum | cut -d ' ' -f 1)
marker="$dir/installed-$wanted"
is_installed() { [ "$(cat "$marker" 2>/dev/null)" = "$dir" ]; }
is_installed && exit

fail() {
    cat "$log" >&2
    printf 'error: %s\n' "$*" >&2
    exit 69
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
mkdir -p "$dir"
# Two test processes may start at the same time.
exec 9>"$dir/lock"
flock 9
is_installed && exit
rm -rf "$dir/python" "$dir/node_modules" "$dir"/installed-*
for program in python3 node npm; do
    command -v "$program" >/dev/null || fail "$program is missing. On Debian: apt-get install python3-venv nodejs npm"
done
python3 -m venv "$dir/python" >"$log" 2>&1 || fail "python3 makes no virtual environment. On Debian: apt-get install python3-venv"
"$dir/python/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$here/requirements.txt" >"$log" 2>&1 ||
    fail "pip cannot install the packages. They come from the Python package index: is it reachable from here?"
cp "$here/package.json" "$here/package-lock.json" "$dir/"
(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund >"$log" 2>&1) ||
    fail "npm cannot install the packages. They come from the registry of npm: is it reachable from here?"
printf '%s\n' "$dir" >"$marker"
