# shellcheck shell=bash
# Mutual TLS for the demo's broker: authorities, certificates, access rules, and the configuration of compose/ with other paths
# and ports. To be sourced after servers.sh.
#
# Secrets are files of mode 0600, or readable by the servers' account alone; none is an argument or in the environment.
#
# The caller sets root, the repository, and a function sluice that runs the program with the demo's settings.

AUTHORITY="$STATE/authority"
# shellcheck disable=SC2034  # start_mosquitto calls it
WRITE_CONF=write_mtls_conf

# All files or none: Sluice refuses half of a pair.
make_authority() {
    local made="$AUTHORITY.new"
    say "making the authorities for devices and broker, and the first CRL"
    rm -rf "$made"
    mkdir -m 700 "$made"
    sluice ca init --cert "$made/device-ca.crt" --key "$made/device-ca.key" --crl "$made/device-crl.pem" \
        --server-name localhost --server-name 127.0.0.1 >"$STATE/authority.log" 2>&1 || {
        cat "$STATE/authority.log" >&2
        die "$EXIT_UNAVAILABLE" "'sluice ca init' failed; its output is above"
    }
    as_server tee "$SERVERS/mosquitto/device-crl.pem" <"$made/device-crl.pem" >/dev/null
    mv "$made" "$AUTHORITY"
}

# The password of Sluice at the inner listener.
prepare_password() {
    if [ -s "$STATE/mqtt_password" ]; then return; fi
    (umask 077 && openssl rand -hex 24 >"$STATE/mqtt_password.new")
    mv "$STATE/mqtt_password.new" "$STATE/mqtt_password"
}

# The authorities of devices and broker; kept from one start to the next.
prepare_authority() {
    as_server mkdir -p "$SERVERS/mosquitto"
    [ -d "$AUTHORITY" ] || make_authority
}

# Renews what has expired since the last start: the broker's certificate, and a CRL that the broker would refuse.
renew_authority() {
    if ! openssl x509 -in "$AUTHORITY/server.crt" -noout -checkend 172800 >/dev/null 2>&1; then
        say "the broker's certificate expires soon or is missing: making a new one"
        rm -f "$AUTHORITY/server.crt" "$AUTHORITY/server.key"
        sluice ca init --server-name localhost --server-name 127.0.0.1 >"$STATE/authority.log" 2>&1 || true
        [ -s "$AUTHORITY/server.crt" ] || {
            cat "$STATE/authority.log" >&2
            die "$EXIT_UNAVAILABLE" "the broker has no certificate; start again after 'scripts/demo --clean'"
        }
    fi
    if sluice ca show >"$STATE/authority.log" 2>&1; then return; fi
    say "the CRL is no longer valid: publishing a new one"
    # No broker runs yet that could be notified.
    { sluice migrate && sluice --set BROKER_PID_FILE= crl publish; } >"$STATE/authority.log" 2>&1 || {
        cat "$STATE/authority.log" >&2
        die "$EXIT_UNAVAILABLE" "no CRL could be published; start again after 'scripts/demo --clean'"
    }
}

# The broker's configuration is compose/mosquitto/mosquitto.conf with other paths and ports, on the loopback only, and without
# websockets.
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

# The access rules of the stack, and one more: the demo publishes a command as the platform would, which Sluice ignores.
write_acl() {
    cat "$root/compose/mosquitto/acl.conf"
    printf '\n# The demo publishes here to see that all earlier messages have arrived.\nuser sluice\ntopic write tenant/sluice-demo/device/marker/commands\n'
}

# Puts the broker's files where it reads them, readable by it alone. Their originals are in AUTHORITY.
# shellcheck disable=SC2016  # the inner shell expands
write_broker_files() {
    local home="$SERVERS/mosquitto" file
    for file in device-ca.crt server.crt server.key; do
        as_server sh -c 'umask 077 && cat >"$1.new" && mv "$1.new" "$1"' sh "$home/$file" <"$AUTHORITY/$file"
    done
    write_acl >"$STATE/acl.template"
    # Sluice writes it from the template and its registry; the broker needs one at its start.
    [ -s "$home/acl.conf" ] || as_server tee "$home/acl.conf" <"$STATE/acl.template" >/dev/null
    # Only its hash is written where the broker reads it.
    printf 'sluice:%s\n' "$(cat "$STATE/mqtt_password")" |
        as_server sh -c 'umask 077 && cat >"$1.new" && mosquitto_passwd -U "$1.new" && mv "$1.new" "$1"' sh "$home/passwords"
}
