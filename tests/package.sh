#!/usr/bin/env bash
# Tests the packages that scripts/package has made, in a Debian root that systemd-nspawn boots.
#
# Systemd, Mosquitto, Postgres and the kernel's sandboxes are real. The root has a network of its own, without a way out: no port
# of this machine is used. What is written there is gone at the end.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=scripts/lib.sh
. "$root/scripts/lib.sh"

# The highest exposure of a unit, times ten (systemd-analyze security).
readonly EXPOSURE=15
readonly DOWNLOAD_SECONDS=900
# How long the test waits for what must come.
readonly PATIENCE=60

usage() {
    cat <<'END'
Usage: tests/package.sh --tools | --root
       tests/package.sh DIR VERSION REVISION

Tests the packages in DIR of VERSION-REVISION: lintian, systemd-analyze, every
command of docs/how-to/debian.md, the watchdog, reload, damaged lists of revoked
certificates, the plugin, upgrade to the next revision (in DIR/next), remove, purge.
With --tools it only installs what it and scripts/package need (by apt-get).
With --root it only makes the Debian root (mmdebstrap, in the build directory, about
a minute), once. Needs root.

Example:
  scripts/package --profile dev --check

Exit code: 0 when all holds, 1 when not, 64 for a wrong argument, 69 when the root
cannot be made or booted here.
END
}

case ${1-} in
-h | --help)
    usage
    exit
    ;;
--tools | --root) dir='' ;;
*)
    if [ $# -ne 3 ]; then
        usage >&2
        exit "$EXIT_USAGE"
    fi
    dir=$(cd "$1" && pwd) version=$2 revision=$3
    ;;
esac

cache="${CARGO_TARGET_DIR:-$root/target}/package-root"
base="$cache/bookworm"

need_tools() {
    local packages
    mapfile -t packages < <({
        has mmdebstrap || say mmdebstrap
        has systemd-nspawn || say systemd-container
        has lintian || say lintian
        # For scripts/package, which cannot ask for a password in the background.
        has dh || say debhelper
        has fakeroot || say fakeroot
    })
    [ "$(id -u)" -eq 0 ] || die "$EXIT_UNAVAILABLE" "the packages are tested in a root of their own: run this as root."
    [ "${#packages[@]}" -eq 0 ] || { has apt-get && apt_install "${packages[@]}"; } ||
        die "$EXIT_UNAVAILABLE" "missing: ${packages[*]}."
}

# A clean Debian with what the page installs besides Sluice, because the test has no network.
make_root() {
    mkdir -p "$cache"
    (
        flock 9
        [ ! -d "$base" ] || exit 0
        say "making $base: a root of Debian 12 (about a minute)"
        rm -rf "$base.new"
        timeout "$DOWNLOAD_SECONDS" mmdebstrap --quiet --variant=minbase --format=directory \
            --include=systemd,systemd-sysv,dbus,adduser,openssl,jq,procps,mosquitto,mosquitto-clients,postgresql \
            bookworm "$base.new" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" >"$cache/mmdebstrap.log" 2>&1 || {
            tail -n 5 "$cache/mmdebstrap.log" >&2
            exit "$EXIT_UNAVAILABLE"
        }
        mv "$base.new" "$base"
    ) 9>"$cache/lock" || die "$EXIT_UNAVAILABLE" "mmdebstrap cannot make a Debian root; the end of its log is above"
}

# --- The machine ---

# Boots the root; what is written goes to memory.
boot() {
    systemd-nspawn --quiet --directory="$base" --volatile=overlay --machine="sluice-$$" --register=no --keep-unit --private-network \
        --bind-ro="$dir:/packages" --boot --console=pipe </dev/null >"$work/console" 2>&1 &
    machine=$!
    local waited=0
    until leader=$(pgrep -P "$machine" -x systemd) && inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; do
        if ! kill -0 "$machine" 2>/dev/null || [ "$waited" -ge $((10 * PATIENCE)) ]; then
            cat "$work/console" >&2
            die "$EXIT_UNAVAILABLE" "systemd-nspawn cannot boot a Debian root here"
        fi
        sleep 0.1
        waited=$((waited + 1))
    done
}

# shellcheck disable=SC2329,SC2317  # the trap calls it
power_off() {
    if [ -n "${machine-}" ]; then
        inside systemctl --no-block poweroff 2>/dev/null || true
        local waited=0
        while kill -0 "$machine" 2>/dev/null && [ "$waited" -lt 100 ]; do
            sleep 0.1
            waited=$((waited + 1))
        done
        # Without its first process a machine ends; without systemd-nspawn it would go on.
        if kill -0 "$machine" 2>/dev/null; then
            kill -KILL ${leader:+"$leader"} "$machine" 2>/dev/null || true
        fi
    fi
    rm -rf "$work"
}

# inside COMMAND...: runs it in the machine, in the directory of the packages.
inside() {
    nsenter --target "$leader" --mount --uts --ipc --net --pid --cgroup \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        sh -c 'cd /root && exec "$@"' sh "$@"
}

# --- Checks ---

# check PART: runs the function and prints whether it holds; the first that does not ends the test. It is called outside of any
# condition, where each command that fails ends the function.
check() {
    local what=${1//_/ } start=$SECONDS code
    set +e
    (
        set -e
        "$1"
    ) >"$work/output" 2>&1
    code=$?
    set -e
    if [ "$code" -eq 0 ]; then
        say "ok: $what, $((SECONDS - start)) s"
        return
    fi
    cat "$work/output" >&2
    # shellcheck disable=SC2015  # either may fail
    [ -z "${leader-}" ] || inside journalctl --no-pager -n 40 -u sluice -u sluice-crl -u mosquitto >&2 || true
    die 1 "$what"
}

# await COMMAND...: until it succeeds.
await() {
    local end=$((SECONDS + PATIENCE))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

is_ready() { inside sluice health; }
property() { inside systemctl show -P "$2" "$1"; }
# shellcheck disable=SC2016  # the shell inside expands it
rows() { inside sh -c 'psql -At "$(cat /etc/sluice/credentials/database_url)" -c "SELECT count(*) FROM telemetry"'; }

lintian_is_clean() {
    # The root of a helper program runs lintian, too.
    lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$dir"/sluice*_"$version-$revision"_*.deb
}

units_are_sound() {
    inside systemd-analyze --man=no verify sluice.service sluice-crl.service sluice-crl.path sluice-crl.timer 2>"$work/verify"
    # A unit of the distribution may have a warning of its own.
    if grep -i sluice "$work/verify"; then return 1; fi
    inside systemd-analyze security --offline=true --threshold="$EXPOSURE" --no-pager sluice.service
    inside systemd-analyze security --offline=true --threshold="$EXPOSURE" --no-pager sluice-crl.service
}

# Runs block N of the page, whose packages are in the current directory; a service that starts is awaited.
run_block() {
    local text=${blocks[$1]}
    # The root has no network, and the packages of Debian already.
    text=${text/apt-get update/true}
    if ! inside bash -euo pipefail -c "$text"; then
        say "block $1 of the page fails"
        return 1
    fi
    case $text in *"systemctl start sluice"$'\n'*) await is_ready ;; esac
}

# Reads the blocks of the page into blocks.
read_page() {
    blocks=()
    local line block='' is_in=
    while IFS= read -r line; do
        case $is_in$line in
        '```sh') is_in=1 block='' ;;
        '1```') blocks+=("$block") is_in='' ;;
        1*) block+=$line$'\n' ;;
        esac
    done <"$root/docs/how-to/debian.md"
}

first_install_waits() {
    inside sh -c 'cp /packages/sluice_*.deb /root/'
    run_block 0 | tee "$work/install"
    grep -q 'systemctl start sluice' "$work/install"
    is_state sluice inactive
    [ "$(property sluice UnitFileState)" = enabled ]
    inside sluice --version
    inside test -f /usr/share/man/man1/sluice-device-add.1.gz
    inside test -f /usr/share/bash-completion/completions/sluice
}

# Settings that are wrong end the start, once, with the setting named.
wrong_settings_do_not_restart() {
    inside sed -i 's/^#mqtt_port = .*/mqtt_port = "none"/' /etc/sluice/sluice.toml
    if inside systemctl start sluice; then return 1; fi
    # With a restart ahead it would be activating.
    is_state sluice failed
    inside journalctl --no-pager -u sluice | grep MQTT_PORT
    inside sed -i 's/^mqtt_port = "none"/#mqtt_port = 1883/' /etc/sluice/sluice.toml
    inside systemctl reset-failed sluice
}

page_works() {
    local n
    for n in 1 2 3 4 5; do run_block "$n"; done
    inside systemctl status --no-pager --lines 0 sluice | grep -F 'Status: "ready"'
    [ "$(property sluice Type) $(property sluice WatchdogUSec)" = 'notify 30s' ]
    [ "$(rows)" = 1 ]
}

revocation_works() {
    run_block 6
    run_block 7 | grep -x refused
    [ "$(rows)" = 1 ]
    await has_same_lists
}

# The daemon would replace the damaged list within a second.
damaged_list_is_not_used() {
    inside systemctl stop sluice
    inside cp -a /var/lib/sluice/crl/device-crl.pem /root/kept.pem
    inside sh -c 'echo damaged > /var/lib/sluice/crl/device-crl.pem'
    await is_state sluice-crl.service failed
    inside cmp /root/kept.pem /var/lib/sluice-broker/device-crl.pem
    inside systemctl start sluice
    await has_same_lists
}
has_same_lists() { inside cmp /var/lib/sluice/crl/device-crl.pem /var/lib/sluice-broker/device-crl.pem; }
is_state() { [ "$(property "$1" ActiveState)" = "$2" ]; }

reload_keeps_the_process() {
    local pid
    pid=$(property sluice MainPID)
    inside systemctl reload sluice
    await is_state sluice active
    [ "$(property sluice MainPID)" = "$pid" ]
}

# A frozen daemon is ended and started again.
watchdog_restarts() {
    local pid
    inside mkdir -p /run/systemd/system/sluice.service.d
    inside sh -c 'printf "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n" > /run/systemd/system/sluice.service.d/test.conf'
    inside systemctl daemon-reload
    inside systemctl restart sluice
    await is_ready
    pid=$(property sluice MainPID)
    inside kill -STOP "$pid"
    await is_other_process "$pid"
    inside journalctl --no-pager -u sluice | grep -i 'watchdog timeout'
    await is_ready
    inside rm -r /run/systemd/system/sluice.service.d
    inside systemctl daemon-reload
}
is_other_process() {
    local now
    now=$(property sluice MainPID)
    [ "$now" != 0 ] && [ "$now" != "$1" ]
}

# The plugin in the broker reaches the daemon through the socket, in spite of both sandboxes.
plugin_connects() {
    inside sh -c 'apt-get -q -y install /packages/sluice-mosquitto_*.deb'
    inside sed -i 's/^#plugin/plugin/' /etc/mosquitto/conf.d/sluice-plugin.conf
    inside sed -i '/^use_identity_as_username/d' /etc/mosquitto/conf.d/sluice.conf
    inside sed -i 's|^#plugin_socket = .*|plugin_socket = "/run/sluice/plugin.sock"|' /etc/sluice/sluice.toml
    inside systemctl restart sluice
    inside systemctl restart mosquitto
    await plugin_is_up
}
plugin_is_up() {
    inside bash -c 'exec 3<>/dev/tcp/127.0.0.1/9464; printf "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n" >&3; cat <&3' |
        grep -q '^sluice_plugin_up{.*} 1'
}

upgrade_keeps_data() {
    local pid before
    pid=$(property sluice MainPID)
    before=$(rows)
    inside sh -c 'apt-get -q -y install /packages/next/sluice_*.deb'
    is_other_process "$pid"
    await is_ready
    [ "$(rows)" = "$before" ]
    inside grep -q '^cert_auth_enabled = true' /etc/sluice/sluice.toml
}

remove_keeps_state() {
    inside apt-get -q -y remove sluice sluice-mosquitto
    if inside systemctl is-active sluice sluice-crl.path; then return 1; fi
    inside ls /var/lib/sluice/ca/device-ca.key /etc/sluice/sluice.toml /etc/sluice/credentials/mqtt_password
}

purge_keeps_the_authority() {
    local left
    inside apt-get -q -y purge sluice sluice-mosquitto | tee "$work/purge"
    grep -q 'authority of the devices is kept in /var/lib/sluice/ca' "$work/purge"
    inside test -f /var/lib/sluice/ca/device-ca.key
    for left in /etc/sluice /var/lib/sluice/crl /var/lib/sluice-broker /usr/bin/sluice; do
        if inside ls -R "$left"; then return 1; fi
    done
}

need_tools
[ "$1" != --tools ] || exit 0
make_root
[ -n "$dir" ] || exit 0
work=$(mktemp -d)
trap power_off EXIT
read_page
[ "${#blocks[@]}" -eq 8 ] || die 1 "docs/how-to/debian.md has ${#blocks[@]} blocks, and this test knows 8"
check lintian_is_clean
boot
for part in first_install_waits units_are_sound wrong_settings_do_not_restart page_works revocation_works damaged_list_is_not_used \
    reload_keeps_the_process watchdog_restarts plugin_connects upgrade_keeps_data remove_keeps_state purge_keeps_the_authority; do
    check "$part"
done
