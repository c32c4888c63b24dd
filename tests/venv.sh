# shellcheck shell=bash
# Installs a checking tool that is not ours from the Python package index. Sourced by the scripts beside it; only tests use it.
set -euo pipefail

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 69
}

# install PACKAGE VERSION ARGUMENTS...: the one argument is the directory; what is there already stays. What the package
# stands on can be held to a version by naming it in `beside`.
beside=
install() {
    local package=$1 version=$2
    shift 2
    if [ $# -ne 1 ] || [ "$1" = --help ]; then
        printf 'Usage: tests/%s DIRECTORY\n\nInstalls %s %s into DIRECTORY (a Python virtual environment), if it is not there.\n' \
            "${0##*/}" "$package" "$version" >&2
        exit 64
    fi
    local dir=$1 marker="$1/installed-$version"
    [ -e "$marker" ] && return
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    python3 -m venv "$dir" >"$log" 2>&1 || {
        cat "$log" >&2
        fail "python3 makes no virtual environment. On Debian: apt-get install python3-venv"
    }
    "$dir/bin/pip" install --quiet --disable-pip-version-check "$package==$version" ${beside:+"$beside"} >"$log" 2>&1 || {
        cat "$log" >&2
        fail "pip cannot install $package $version. It comes from the Python package index: is it reachable from here?"
    }
    touch "$marker"
}
