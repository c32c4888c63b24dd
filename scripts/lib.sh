# shellcheck shell=bash
# Functions that the scripts share: output, and finding or installing what the tests and the demo need. To be sourced.
#
# It only installs packages. It starts, stops and configures no service of this machine.
set -euo pipefail

# shellcheck disable=SC2034  # for those who source this
readonly EXIT_USAGE=64
readonly EXIT_UNAVAILABLE=69

# Servers are in the administrator's directories, which are not on every user's path.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*"; }

# die CODE MESSAGE...: prints the error and exits.
die() {
    local code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

has() { command -v "$1" >/dev/null 2>&1; }

# The directory of Postgres' server programs: POSTGRES_BIN, else the one pg_config names, else the newest that is packaged.
postgres_bin() {
    local dir
    for dir in "${POSTGRES_BIN-}" "$(pg_config --bindir 2>/dev/null || true)" \
        $(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -rV) \
        "$(dirname "$(command -v initdb || true)")"; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
            say "$dir"
            return
        fi
    done
    return 1
}

# Whether programs can be linked; cargo and the C parts of dependencies need it.
can_link() { say 'int main(void) { return 0; }' | cc -x c -o /dev/null - 2>/dev/null; }

# The missing packages, by their names on Debian. With "checks", those that only the checks need, too: tools that read the
# alert rules and the compose file, those that the pages use, a browser, and faketime.
missing_packages() {
    { has mosquitto && has mosquitto_passwd; } || say mosquitto
    { has mosquitto_pub && has mosquitto_sub; } || say mosquitto-clients
    postgres_bin >/dev/null || say postgresql
    can_link || say gcc libc6-dev
    has openssl || say openssl
    if [ "${1-}" = checks ]; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || say python3-venv
        has promtool || say prometheus
        has jq || say jq
        has curl || say curl
        # Its client for EST, and the plugin with elliptic curves.
        { has pki && [ -e /usr/lib/ipsec/plugins/libstrongswan-openssl.so ]; } || say strongswan-pki libstrongswan-standard-plugins
        [ -e "$(find /usr/lib -name libfaketime.so.1 2>/dev/null | head -n 1)" ] || say faketime
        has chromium || say chromium
        # Clients of other makers, and what the broker with a cloud's login is built from.
        { has node && has npm; } || say nodejs npm
        [ -e /usr/include/mosquitto_plugin.h ] || say mosquitto-dev libmosquitto-dev
        [ -e /usr/include/cjson/cJSON.h ] || say libcjson-dev
        [ -e /usr/include/openssl/evp.h ] || say libssl-dev
        { has docker-compose || docker compose version >/dev/null 2>&1; } || say docker-compose
    fi
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# apt_install PACKAGE...: installs them without starting their services: Debian would, perhaps on a port in use.
apt_install() (
    policy=/usr/sbin/policy-rc.d
    log=$(mktemp)
    held=
    # shellcheck disable=SC2329,SC2317  # the trap calls it
    restore() {
        if [ -n "$held" ]; then as_root rm -f "$policy"; fi
        rm -f "$log"
    }
    trap restore EXIT
    if ! [ -e "$policy" ]; then
        held=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
    say "installing with apt-get: $*"
    say "  (their services are not started now; to keep them off after a reboot: systemctl disable mosquitto postgresql)"
    apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    if ! { as_root "${apt[@]}" update && as_root "${apt[@]}" install --no-install-recommends --no-upgrade "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "$EXIT_UNAVAILABLE" "apt-get could not install: $*. Install them by hand and run this again."
    fi
)

# Installs the servers and the compiler if they are missing; need_packages checks: what the checks need, too.
need_packages() {
    local packages advice='Install them by hand: the Mosquitto broker with its clients, the PostgreSQL server (14 or newer),'
    advice="$advice a C compiler, openssl; for all checks also Python 3 with venv, jq, curl, and Chromium."
    mapfile -t packages < <(missing_packages "${1-}" | tr ' ' '\n')
    [ "${#packages[@]}" -gt 0 ] || return 0
    if ! has apt-get; then
        local way
        if has dnf; then
            way='dnf install mosquitto postgresql-server gcc openssl python3'
        elif has apk; then
            way='apk add mosquitto mosquitto-clients postgresql build-base openssl python3'
        elif has brew; then
            way='brew install mosquitto postgresql@17 openssl python3'
        fi
        die "$EXIT_UNAVAILABLE" "missing: ${packages[*]}. $advice${way:+ On this system perhaps: $way}"
    fi
    if [ "$(id -u)" -ne 0 ] && ! has sudo; then
        die "$EXIT_UNAVAILABLE" "missing: ${packages[*]}. Run as root: apt-get install ${packages[*]}"
    fi
    apt_install "${packages[@]}"
    packages=()
    mapfile -t packages < <(missing_packages "${1-}")
    [ "${#packages[@]}" -eq 0 ] || die "$EXIT_UNAVAILABLE" "after the installation these are still missing: ${packages[*]}. $advice"
}

# need_cargo ROOT: exits with advice when Rust is missing or too old for the package in ROOT.
need_cargo() {
    local wanted found way='see https://rustup.rs'
    # Where rustup installs cargo; this shell may be older than the installation.
    has cargo || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1/Cargo.toml")
    has cargo || die "$EXIT_UNAVAILABLE" "cargo is missing: install Rust $wanted or newer, $way."
    found=$(cargo --version | cut -d ' ' -f 2)
    if [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        die "$EXIT_UNAVAILABLE" "cargo is version $found: install Rust $wanted or newer ('rustup update', or $way)."
    fi
}

# need_component NAME PROGRAM: a part of the Rust toolchain that minimal installations leave out.
need_component() {
    if cargo "$2" --version >/dev/null 2>&1; then return; fi
    has rustup || die "$EXIT_UNAVAILABLE" "cargo $2 is missing: install the package $1 for your version of cargo."
    say "installing with rustup: $1"
    rustup component add "$1" >/dev/null 2>&1 || die "$EXIT_UNAVAILABLE" "'rustup component add $1' failed; run it to see why."
}

# Checks the dependency tree against deny.toml, where cargo-deny is installed.
check_dependencies() {
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny check --hide-inclusion-graph bans licenses sources
    else
        say "cargo-deny is not installed: deny.toml not checked"
    fi
}
