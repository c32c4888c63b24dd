#!/bin/sh
# Runs Mosquitto, and hands it each new CRL and each new file of access rules once that has proved good.
#
# Mosquitto 2.0 lets revoked certificates in when it reads a CRL that is missing, empty or garbled, and refuses every
# device when the CRL has ended. So it reads a copy of our own, made only of what openssl has verified and put in its
# place by a rename; the published file may be anything at any moment. It decides nothing about who is revoked.
#
# The access rules are those that Sluice writes (ACL_OUTPUT_PATH), or, as long as there never were any, the shipped ones. At
# a line that is no rule Mosquitto 2.1 ends and 2.0 drops what follows: so each line is read before the broker reads it.
set -eu

conf=${MOSQUITTO_CONF:-/mosquitto/config/mosquitto.conf}
published=${CRL_PUBLISHED:-/mosquitto/crl/device-crl.pem}
# The crlfile of the configuration.
taken=${CRL_TAKEN:-/mosquitto/data/device-crl.pem}
authority=${CRL_AUTHORITY:-/run/secrets/device-ca.crt}
rules_published=${ACL_PUBLISHED:-/mosquitto/crl/acl.conf}
rules_shipped=${ACL_SHIPPED:-/mosquitto/config/acl.conf}
# The acl_file of the configuration.
rules_taken=${ACL_TAKEN:-/mosquitto/data/acl.conf}
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

# verify_rules FILE: the same for access rules.
verify_rules() {
    if ! [ -s "$1" ]; then
        wrong='it is missing or empty'
    elif [ -n "$(tail -c 1 "$1")" ]; then
        wrong='its last line is cut off'
    else
        wrong=$(wrong_rule "$1")
    fi
    [ -z "$wrong" ]
}

# The first line that is no access rule, or nothing; read as Mosquitto reads it.
wrong_rule() {
    awk -F '[ ]+' '
        function bad(why) { found = 1; print "line " NR " is no access rule: " why; exit }
        { sub(/[[:space:]]+$/, "") }
        /^#/ || /^$/ { next }
        { sub(/^ +/, "") }
        { rules++ }
        $1 == "user" { if (NF < 2) bad("it names no user"); next }
        $1 != "topic" && $1 != "pattern" { bad("it begins with neither user, topic nor pattern") }
        NF < 2 { bad("it names no topic") }
        NF > 2 && $2 !~ /^(read|write|readwrite|deny)$/ { bad("its access is not read, write, readwrite or deny") }
        {
            topic = $0
            sub(/^[^ ]+ +/, "", topic)
            if (NF > 2) sub(/^[^ ]+ +/, "", topic)
            levels = split(topic, level, "/")
            for (i = 1; i <= levels; i++) {
                if (level[i] ~ /#/ && (level[i] != "#" || i < levels)) bad("# is not its last level")
                if (level[i] ~ /\+/ && level[i] != "+") bad("+ is not a whole level")
            }
        }
        END { if (!found && !rules) print "it holds no rule" }' "$1"
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

# The file the rules are taken from. The shipped ones are no substitute for those of Sluice: they bar nobody.
rules_source() {
    if [ -e "$rules_published" ] || head -n 1 "$rules_taken" 2>/dev/null | grep -q '^# Written by sluice'; then
        echo "$rules_published"
    else
        echo "$rules_shipped"
    fi
}

# take_rules FILE: the same for access rules.
take_rules() {
    cp "$1" "$rules_taken.new" 2>/dev/null || : >"$rules_taken.new"
    if verify_rules "$rules_taken.new"; then
        mv "$rules_taken.new" "$rules_taken"
        return
    fi
    rm -f "$rules_taken.new"
    return 1
}

# What tells one content from another.
content() { { sha256sum <"$1"; } 2>/dev/null || echo missing; }

# What tells one state of a file from another without reading it: the rules of a large fleet are many megabytes.
state() { stat -c '%n %i %s %y %z' "$1" 2>/dev/null || echo missing; }

# One look: what is published, is not what the broker has, and has stood for a period, is taken and told to the broker, once
# for both.
look() {
    new_crl=
    new_rules=
    look_at_crl
    look_at_rules
    if [ -z "$new_crl$new_rules" ]; then return 0; fi
    # A broker that has ended needs no signal: the loop notices its end.
    kill -HUP "$broker" 2>/dev/null || return 0
    if [ -n "$new_crl" ]; then say "a new CRL is in force"; fi
    if [ -n "$new_rules" ]; then say "new access rules are in force"; fi
}

look_at_crl() {
    now=$(content "$published")
    if [ "$now" != "$changing" ]; then
        changing=$now
        return
    fi
    if cmp -s "$published" "$taken"; then
        refused=
    elif take; then
        refused=
        new_crl=1
    elif [ "$now" != "$refused" ]; then
        # Tried again at each look, for it may only have come too early; said once.
        refused=$now
        say "$published is not taken, $wrong; the broker keeps the last good one"
    fi
}

look_at_rules() {
    source=$(rules_source)
    now=$(state "$source")
    if [ "$now" = "$rules_seen" ]; then return; fi
    if [ "$now" != "$rules_changing" ]; then
        rules_changing=$now
        return
    fi
    if cmp -s "$source" "$rules_taken"; then
        rules_seen=$now
    elif take_rules "$source"; then
        rules_seen=$now
        new_rules=1
    elif [ "$now" != "$rules_refused" ]; then
        rules_refused=$now
        say "$source is not taken, $wrong; the broker keeps the last good rules"
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

# The same for access rules; the shipped ones stand in for those that Sluice has not written yet.
wait_for_rules() {
    rules_refused=
    while ! take_rules "$(rules_source)"; do
        why=$wrong
        if verify_rules "$rules_taken"; then
            say "$(rules_source) is not taken, $why; starting with the last good rules"
            rules_refused=$(state "$(rules_source)")
            return
        fi
        if [ "$why" != "$rules_refused" ]; then
            rules_refused=$why
            say "$(rules_source) is not taken, $why, and there are no earlier rules: waiting for good ones, without the broker"
        fi
        pause
    done
    rules_seen=$(state "$(rules_source)")
}

umask 022
wrong=
refused=
rules_seen=
rules_changing=
trap 'exit 0' TERM INT
wait_for_crl
wait_for_rules
changing=$(content "$published")
mosquitto -c "$conf" &
broker=$!
stopping=
trap stop TERM INT
trap 'kill -HUP "$broker" 2>/dev/null || true' HUP
while kill -0 "$broker" 2>/dev/null; do
    pause
    if [ -z "$stopping" ]; then look; fi
done
code=0
wait "$broker" || code=$?
exit "$code"
