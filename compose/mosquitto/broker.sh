#!/bin/sh
# Runs Mosquitto, and gives it each new CRL and each new file of access rules after checking it.
#
# Mosquitto 2.0 accepts revoked certificates when its CRL is missing, empty or damaged, and refuses every device when the CRL
# has expired. So it reads a copy that openssl has verified and that a rename has put there; the published file may be in any
# state. This script does not decide which certificates are revoked.
#
# The access rules are those that Sluice writes (ACL_OUTPUT_PATH), or the shipped ones until Sluice has written some. At a line
# that is no rule Mosquitto 2.1 exits, and 2.0 ignores the rest of the file: so each line is checked before the broker reads it.
# `broker.sh --once` starts no broker: it checks and copies what is new, and asks systemd to reload BROKER_UNIT. The exit code is
# 1 if a published file is not used.
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
# A change must be this old before it is used, so that several in a row are one reload.
period=${CRL_SETTLE_SECONDS:-1}

say() { printf '%s: broker.sh: %s\n' "$(date -u +%Y-%m-%dT%H:%M:%S)" "$*"; }

# verify FILE: whether the broker may read it; sets wrong to the reason if not.
verify() {
    if ! [ -s "$1" ]; then
        wrong='it is missing or empty'
    elif command -v openssl >/dev/null; then
        wrong=$(verify_with_openssl "$1")
    elif [ "$(head -n 1 "$1")" = '-----BEGIN X509 CRL-----' ] && [ "$(tail -n 1 "$1")" = '-----END X509 CRL-----' ]; then
        wrong=
    else
        wrong='it is not one complete CRL in PEM'
    fi
    [ -z "$wrong" ]
}

# Prints what is wrong with it, or nothing.
verify_with_openssl() {
    openssl crl -in "$1" -noout -CAfile "$authority" 2>&1 | grep -q 'verify OK' || {
        echo "it is no CRL signed by $authority"
        return
    }
    now=$(date -u '+%Y-%m-%d %H:%M:%SZ')
    dates=$(openssl crl -in "$1" -noout -lastupdate -nextupdate -dateopt iso_8601)
    printf '%s\nnow=%s\n' "$dates" "$now" | awk -F = '
        { at[$1] = $2 }
        END {
            if (at["nextUpdate"] "" <= at["now"] "") print "it expired at " at["nextUpdate"]
            else if (at["lastUpdate"] "" > at["now"] "") print "it is valid only from " at["lastUpdate"]
        }'
}

# verify_rules FILE: the same for access rules.
verify_rules() {
    if ! [ -s "$1" ]; then
        wrong='it is missing or empty'
    elif [ -n "$(tail -c 1 "$1")" ]; then
        wrong='its last line is incomplete'
    else
        wrong=$(wrong_rule "$1")
    fi
    [ -z "$wrong" ]
}

# Prints the first line that is no access rule, or nothing; lines are parsed as Mosquitto parses them.
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
        END { if (!found && !rules) print "it contains no rule" }' "$1"
}

# Copies the CRL, verifies the copy, and puts it where the broker reads it.
take() {
    cp "$published" "$taken.new" 2>/dev/null || : >"$taken.new"
    if verify "$taken.new"; then
        mv "$taken.new" "$taken"
        return
    fi
    rm -f "$taken.new"
    return 1
}

# The file that the rules come from. The shipped rules do not replace those of Sluice: they deny no device.
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

# A value that changes with the content of a file.
content() { { sha256sum <"$1"; } 2>/dev/null || echo missing; }

# A value that changes with the state of a file, without reading it: the rules of a large fleet are many megabytes.
state() { stat -c '%n %i %s %y %z' "$1" 2>/dev/null || echo missing; }

# One round: a published file that differs from the broker's copy and is a period old is checked and copied. One SIGHUP notifies
# the broker of both files.
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
        # Checked again in each round, because its validity may begin later; logged once.
        refused=$now
        say "$published is not used: $wrong; the broker keeps the last valid CRL"
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
        say "$source is not used: $wrong; the broker keeps the last valid rules"
    fi
}

# shellcheck disable=SC2317  # the trap calls it
stop() {
    stopping=1
    kill -TERM "$broker" 2>/dev/null || true
}

# take_once: for a broker that systemd runs. It repeats until nothing is new: systemd may not notice a change that comes while
# this runs. The mark outlives a reload that failed, so that the next run reloads.
take_once() {
    mark="$(dirname "$taken")/reload-due"
    while :; do
        # The first change may be that of a temporary file, just before its rename.
        sleep "$period"
        code=0
        if [ -e "$rules_published" ]; then once "$rules_published" "$rules_taken" take_rules || code=1; fi
        once "$published" "$taken" take || code=1
        if ! [ -e "$mark" ]; then return "$code"; fi
        reload_unit || return 1
        rm -f "$mark"
    done
}

# once FILE COPY TAKE: one file of take_once.
once() {
    if cmp -s "$1" "$2"; then return; fi
    if "$3" "$1"; then
        : >"$mark"
        say "$1 is new, and was checked"
        return
    fi
    say "$1 is not used: $wrong; the broker keeps the last valid one"
    return 1
}

reload_unit() {
    if [ -z "${BROKER_UNIT-}" ]; then
        say "BROKER_UNIT is not set: nothing was reloaded"
    elif ! systemctl --quiet is-active "$BROKER_UNIT"; then
        say "$BROKER_UNIT does not run: it reads the new files when it starts"
    elif systemctl reload "$BROKER_UNIT"; then
        say "$BROKER_UNIT was reloaded"
    else
        say "systemctl reload $BROKER_UNIT failed; the next run tries again"
        return 1
    fi
}

# A pause that a signal ends at once.
pause() {
    sleep "$period" &
    wait "$!" || true
}

# Returns when there is a CRL to start with: the published one, or the last valid one.
wait_for_crl() {
    while ! take; do
        why=$wrong
        if verify "$taken"; then
            say "$published is not used: $why; starting with the last valid CRL"
            refused=$(content "$published")
            return
        fi
        if [ "$why" != "$refused" ]; then
            refused=$why
            say "$published is not used: $why; there is no earlier CRL; the broker starts when there is a valid one"
        fi
        pause
    done
    refused=
}

# The same for access rules; the shipped ones are used until Sluice has written its own.
wait_for_rules() {
    rules_refused=
    while ! take_rules "$(rules_source)"; do
        why=$wrong
        if verify_rules "$rules_taken"; then
            say "$(rules_source) is not used: $why; starting with the last valid rules"
            rules_refused=$(state "$(rules_source)")
            return
        fi
        if [ "$why" != "$rules_refused" ]; then
            rules_refused=$why
            say "$(rules_source) is not used: $why; there are no earlier rules; the broker starts when there are valid ones"
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
if [ "${1-}" = --once ]; then
    take_once
    exit
fi
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
