#!/bin/sh
# Runs Mosquitto, and hands it each new CRL once that has proved good.
#
# Mosquitto 2.0 lets revoked certificates in when it reads a CRL that is missing, empty or garbled, and refuses every
# device when the CRL has ended. So it reads a copy of our own, made only of what openssl has verified and put in its
# place by a rename; the published file may be anything at any moment. It decides nothing about who is revoked.
set -eu

conf=${MOSQUITTO_CONF:-/mosquitto/config/mosquitto.conf}
published=${CRL_PUBLISHED:-/mosquitto/crl/device-crl.pem}
# The crlfile of the configuration.
taken=${CRL_TAKEN:-/mosquitto/data/device-crl.pem}
authority=${CRL_AUTHORITY:-/run/secrets/device-ca.crt}
# A change must stand this long before it is looked at: several in a row are one reload.
period=${CRL_SETTLE_SECONDS:-1}

say() { printf '%s: broker.sh: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%S)" "$*"; }

# verify FILE: whether the broker may read it; says what is wrong with it.
verify() {
    if ! [ -s "$1" ]; then
        wrong='it is missing or empty'
    elif command -v openssl >/dev/null; then
        wrong=$(verify_with_openssl "$1")
    elif [ "$(head -n 1 "$1")" = '-----BEGIN X509 CRL-----' ] && [ "$(tail -n 1 "$1")" = '-----END X509 CRL-----' ]; then
        wrong=
    else
        wrong='it is not one whole CRL in PEM'
    fi
    [ -z "$wrong" ]
}

# What is wrong with it, or nothing.
verify_with_openssl() {
    openssl crl -in "$1" -noout -CAfile "$authority" 2>&1 | grep -q 'verify OK' || {
        echo "it is no CRL that $authority signed"
        return
    }
    now=$(date -u '+%Y-%m-%d %H:%M:%SZ')
    dates=$(openssl crl -in "$1" -noout -lastupdate -nextupdate -dateopt iso_8601)
    printf '%s\nnow=%s\n' "$dates" "$now" | awk -F = '
        { at[$1] = $2 }
        END {
            if (at["nextUpdate"] "" <= at["now"] "") print "it ended at " at["nextUpdate"]
            else if (at["lastUpdate"] "" > at["now"] "") print "it begins only at " at["lastUpdate"]
        }'
}

# Copies, verifies the copy, and puts it where the broker reads.
take() {
    cp "$published" "$taken.new" 2>/dev/null || : >"$taken.new"
    if verify "$taken.new"; then
        mv "$taken.new" "$taken"
        return
    fi
    rm -f "$taken.new"
    return 1
}

# What tells one content from another.
content() { { sha256sum <"$1"; } 2>/dev/null || echo missing; }

# One look: what is published, is not what the broker has, and has stood for a period, is taken and told to the broker.
look() {
    now=$(content "$published")
    if [ "$now" != "$changing" ]; then
        changing=$now
        return
    fi
    if cmp -s "$published" "$taken"; then
        refused=
    elif take; then
        refused=
        kill -HUP "$broker"
        say "a new CRL is in force"
    elif [ "$now" != "$refused" ]; then
        # Tried again at each look, for it may only have come too early; said once.
        refused=$now
        say "$published is not taken, $wrong; the broker keeps the last good one"
    fi
}

# shellcheck disable=SC2317  # the trap calls it
stop() {
    stopping=1
    kill -TERM "$broker" 2>/dev/null || true
}

# A pause that ends at once when a signal comes.
pause() {
    sleep "$period" &
    wait "$!" || true
}

# Returns once there is a CRL to start with: the published one, or the last good one.
wait_for_crl() {
    while ! take; do
        why=$wrong
        if verify "$taken"; then
            say "$published is not taken, $why; starting with the last good one"
            refused=$(content "$published")
            return
        fi
        if [ "$why" != "$refused" ]; then
            refused=$why
            say "$published is not taken, $why, and there is no earlier one: waiting for a good one, without the broker"
        fi
        pause
    done
    refused=
}

umask 022
wrong=
refused=
trap 'exit 0' TERM INT
wait_for_crl
changing=$(content "$published")
mosquitto -c "$conf" &
broker=$!
stopping=
trap stop TERM INT
trap 'kill -HUP "$broker"' HUP
while kill -0 "$broker" 2>/dev/null; do
    pause
    if [ -z "$stopping" ]; then look; fi
done
code=0
wait "$broker" || code=$?
exit "$code"
