#!/usr/bin/env bash
# Installs axe-core, which finds faults of accessibility in pages, where the tests look for it. Only they use it.
# Version and hash are those of the lock file here.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ $# -ne 1 ] || [ "$1" = --help ]; then
    printf 'Usage: tests/console/axe.sh DIRECTORY\n\nInstalls axe-core into DIRECTORY, if it is not there.\n' >&2
    exit 64
fi
dir=$(realpath -m "$1")
marker="$dir/installed-$(sha256sum "$here/package-lock.json" | cut -d ' ' -f 1)"
[ -e "$marker" ] && exit
command -v npm >/dev/null || {
    printf 'error: npm is missing. On Debian: apt-get install nodejs npm\n' >&2
    exit 69
}
mkdir -p "$dir"
# Two test processes may start at the same time.
exec 9>"$dir/lock"
flock 9
[ -e "$marker" ] && exit
rm -rf "$dir/node_modules" "$dir"/installed-*
cp "$here/package.json" "$here/package-lock.json" "$dir/"
(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund >"$dir/log" 2>&1) || {
    cat "$dir/log" >&2
    printf 'error: npm cannot install axe-core. It comes from the registry of npm: is it reachable from here?\n' >&2
    exit 69
}
touch "$marker"
