# shellcheck shell=bash
# The demo's broker speaks mutual TLS: its authorities and certificates, its access rules, its configuration, which is that of
# the stack in compose/ with other paths and ports. To be sourced after servers.sh.
#
# Secrets are files of mode 0600, or readable by the servers' account alone; none is an argument or in the environment.
#
# The caller sets root, the repository, and a function sluice that runs the program with the demo's settings.

AUTHORITY="$STATE/authority"
# shellcheck disable=SC2034  # start_mosquitto calls it
WRITE_CONF=write_mtls_conf

# In whole or not at all: half of a pair would be refused from then on.
make_authority() {
    local made="$AUTHORITY.new"
    say "making the authorities of devices and broker, and the first CRL"
    rm -rf "$made"
    mkdir -m 700 "$made"
    sluice ca init --cert "$made/device-ca.crt" --key "$made/device-ca.key" --crl "$made/device-crl.pem" \
        --server-name localhost --server-name 127.0.0.1 >"$STATE/authority.log" 2>&1 || {
        cat "$STATE/authority.log" >&2
        die "$EXIT_UNAVAILABLE" "'sluice ca init' failed; above is what it said"
    }
    as_server tee "$SERVERS/mosquitto/device-crl.pem" <"$made/device-crl.pem" >/dev/null
    mv "$made" "$AUTHORITY"
}

# What Sluice logs in with at the inner listener.
prepare_password() {
    if [ -s "$STATE/mqtt_password" ]; then return; fi
    (umask 077 && openssl rand -hex 24 >"$STATE/mqtt_password.new")
    mv "$STATE/mqtt_password.new" "$STATE/mqtt_password"
}

# What devices and broker prove themselves with; kept from one start to the next.
prepare_authority() {
    as_server mkdir -p "$SERVERS/mosquitto"
    [ -d "$AUTHORITY" ] || make_authority
}

# What has grown old since the last start: the broker's certificate is signed anew, and a CRL that the broker would not take
# is published anew.
renew_authority() {
    if ! openssl x509 -in "$AUTHORITY/server.crt" -noout -checkend 172800 >/dev/null 2>&1; then
        say "the broker's certificate ends or is gone: making another"
        rm -f "$AUTHORITY/server.crt" "$AUTHORITY/server.key"
        sluice ca init --server-name localhost --server-name 127.0.0.1 >"$STATE/authority.log" 2>&1 || true
        [ -s "$AUTHORITY/server.crt" ] || {
            cat "$STATE/authority.log" >&2
            die "$EXIT_UNAVAILABLE" "the broker has no certificate; begin anew with 'scripts/demo --clean'"
        }
    fi
    if sluice ca show >"$STATE/authority.log" 2>&1; then return; fi
    say "the CRL of the last time is no longer good: publishing another"
    # There is no broker yet that could be told.
    { sluice migrate && sluice --set BROKER_PID_FILE= crl publish; } >"$STATE/authority.log" 2>&1 || {
        cat "$STATE/authority.log" >&2
        die "$EXIT_UNAVAILABLE" "no CRL could be published; begin anew with 'scripts/demo --clean'"
    }
}

# The files of the broker are the stack's own, of compose/mosquitto, with other paths and ports, only for this machine, and
# without websockets.
# shellcheck disable=SC2016,SC2154  # awk expands; the caller sets root
write_mtls_conf() {
    local home=$1 inner=$2 outer=$3
    # As text, not as a pattern: a path may hold anything but a line end.
    env inner="$inner" outer="$outer" home="$home/" awk '
        function put(from,    at) {
            if (at = index($0, from)) $0 = substr($0, 1, at - 1) ENVIRON["home"] substr($0, at + length(from))
        }
        BEGIN { print "# Written by scripts/demo at each start, from compose/mosquitto/mosquitto.conf." }
        /^# === 9001/ { exit }
        $0 == "listener 1883" { $0 = "listener " ENVIRON["inner"] " 127.0.0.1" }
        $0 == "listener 8883" { $0 = "listener " ENVIRON["outer"] " 127.0.0.1" }
        {
            put("/run/secrets/")
            put("/mosquitto/data/")
            put("/mosquitto/config/")
            print
        }' "$root/compose/mosquitto/mosquitto.conf"
}

# The access rules of the stack, and one more: the demo says something as the platform would, which is ignored.
write_acl() {
    cat "$root/compose/mosquitto/acl.conf"
    printf '\n# The demo asks so whether everything before has arrived.\nuser sluice\ntopic write tenant/sluice-demo/device/overture/commands\n'
}

# The broker's files: put where it reads them, for its eyes only. AUTHORITY holds their originals.
# shellcheck disable=SC2016  # the inner shell expands
write_broker_files() {
    local home="$SERVERS/mosquitto" file
    for file in device-ca.crt server.crt server.key; do
        as_server sh -c 'umask 077 && cat >"$1.new" && mv "$1.new" "$1"' sh "$home/$file" <"$AUTHORITY/$file"
    done
    write_acl >"$STATE/acl.template"
    # Sluice writes it from the template and its registry; the broker needs one before.
    [ -s "$home/acl.conf" ] || as_server tee "$home/acl.conf" <"$STATE/acl.template" >/dev/null
    # Only its hash is written where the broker reads it.
    printf 'sluice:%s\n' "$(cat "$STATE/mqtt_password")" |
        as_server sh -c 'umask 077 && cat >"$1.new" && mosquitto_passwd -U "$1.new" && mv "$1.new" "$1"' sh "$home/passwords"
}
