# shellcheck shell=bash
# The steps of scripts/compose-check, to be sourced by it: each is one claim about a running stack, and ends the script when the
# claim does not hold. They wait for conditions; a condition that does not come within WAIT_SECONDS has failed.
set -euo pipefail
: "${root:?the caller sets it}" "${work:=}"

readonly WAIT_SECONDS=${WAIT_SECONDS:-180}
# The first port of those that the stack publishes.
readonly FIRST_PORT=28883

current=
publisher=
session=

# step NAME COMMAND...: runs it, and prints that the claim holds. A failure ends the script, which then names the step.
step() {
    current=$1
    shift
    "$@"
    say "ok: $current"
    current=
}

fail() {
    printf 'FAILED: %s: %s\n' "${current:-a command}" "$*" >&2
    exit 1
}

# until_true WHAT COMMAND...: waits until the command succeeds.
until_true() {
    local what=$1 end=$((SECONDS + WAIT_SECONDS))
    shift
    until "$@" >"$work/last" 2>&1; do
        if [ "$SECONDS" -gt "$end" ]; then
            tail -n 5 "$work/last" >&2
            fail "$what: not after $WAIT_SECONDS seconds"
        fi
        sleep 0.3
    done
}

compose() { docker compose -f compose/docker-compose.yml "$@"; }
in_stack() { compose exec -T "$@"; }
sql() { in_stack postgres psql -U postgres -A -t sluice -c "$1"; }
is_sql() { [ "$(sql "$1")" = "$2" ]; }

# lay_out RELEASE VERSION: a copy of this tree, as a person has it, with a .env for this release.
lay_out() {
    local release=$1 version=$2 number=0 name
    rm -rf "$work/sluice" "$work/blocks"
    mkdir -p "$work/sluice" "$work/blocks"
    git -C "$root" ls-files -z --cached --others --exclude-standard |
        tar -C "$root" --null --files-from=- --ignore-failed-read -c 2>/dev/null | tar -x -C "$work/sluice"
    cd "$work/sluice"
    # Grafana's image is not to be had, so the copy starts it only when asked. The images are built without a network.
    sed -i 's/^  grafana:$/&\n    profiles: [grafana]/; s/^x-build: &build$/&\n  network: none/' compose/docker-compose.yml
    {
        say 'BUILD_IMAGE=sluice-check/rust:latest'
        say 'RUNTIME_IMAGE=sluice-check/debian:bookworm'
        say "BROKER_IMAGE=sluice-check/debian:$release"
        say "POSTGRES_IMAGE=sluice-check/postgres:$version"
        say 'PROMETHEUS_IMAGE=sluice-check/prometheus:bookworm'
        say "SLUICE_TAG=check-$release"
        say "MQTT_TLS_PORT=$FIRST_PORT"
        for name in WEBSOCKETS_BIND API_BIND GUESTS_BIND GUESTS_PAGE_BIND EST_PUBLISHED PROMETHEUS_BIND GRAFANA_BIND; do
            number=$((number + 1))
            say "$name=127.0.0.1:$((FIRST_PORT + number))"
        done
        say 'PUBLIC_BIND=0.0.0.0:8081'
        say 'PUBLIC_WEBSOCKET_URL=ws://localhost:9002'
        sed -n 's/^#\(EST_BIND\|EST_SERVER_CERT\|EST_SERVER_KEY\)/\1/p' compose/.env.example
    } >compose/.env
    # Each block of commands of the page becomes a file; those that are not to be run get a mark.
    awk -v dir="$work/blocks" '
        /^<!-- not run: / { skip = 1 }
        /^```sh$/ { file = dir "/" ++n; printf "" > file; if (skip) print > (file ".skip"); skip = 0; open = 1; next }
        /^```$/ { if (open) close(file); open = 0; next }
        open { print > file }' compose/README.md
}

# readme PART: runs the block of the page that contains PART, as it is written, with this stack's port.
readme() {
    local block
    current="README: $1"
    block=$(grep -lF -- "$1" "$work"/blocks/* | grep -v '\.\(skip\|ran\)$' | head -n 1) || fail "no block of compose/README.md contains $1"
    sed -i "s/-p 8883/-p $FIRST_PORT/" "$block"
    sed 's/^/   $ /' "$block"
    : >"$block.ran"
    bash -euo pipefail "$block" >"$work/out" 2>&1 </dev/null || {
        tail -n 30 "$work/out" >&2
        fail 'the commands of the page fail; their output is above'
    }
    tail -n 4 "$work/out" | cut -c 1-160
    current=
}

every_command_ran() {
    local block
    for block in "$work"/blocks/*; do
        case $block in *.skip | *.ran) continue ;; esac
        [ -e "$block.skip" ] || [ -e "$block.ran" ] || fail "no check ran these commands of compose/README.md: $(cat "$block")"
    done
    say 'ok: each command of compose/README.md was run, or says why not'
}

is_healthy() {
    local id
    id=$(compose --profile guests ps -q "$1")
    [ "$(docker inspect -f '{{.State.Health.Status}}' "$id")" = healthy ]
}

wait_healthy() {
    local service
    for service in "$@"; do until_true "$service is healthy" is_healthy "$service"; done
}

no_root() {
    local id users
    for id in $(compose ps -q); do
        users=$(docker top "$id" -eo uid,pid,comm | awk 'NR > 1 && $1 == 0')
        [ -z "$users" ] || fail "processes of root: $users"
    done
    id=$(compose ps -a -q prepare)
    [ "$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$id")" = 'exited 0' ] || fail 'prepare has not ended with 0'
}

scrapes() {
    in_stack prometheus wget -q -O - 'http://127.0.0.1:9090/api/v1/query?query=up{job="sluice"}' | grep -F '"1"]' >/dev/null &&
        in_stack prometheus wget -q -O - 'http://127.0.0.1:9090/api/v1/rules' | grep -F '"SluiceDown"' >/dev/null
}

monitored() { until_true 'Prometheus has Sluice as a target, and the rules' scrapes; }

# The login of the dashboard, with its password: it reads, and does not write.
dashboard_login() {
    # shellcheck disable=SC2016  # the shell in the container expands it
    local as_dashboard='PGPASSWORD=$(cat /run/secrets/dashboard_password) psql -h 127.0.0.1 -U sluice_dashboard -A -t sluice -c'
    [ "$(in_stack postgres sh -c "$as_dashboard 'SELECT count(*) FROM telemetry'")" = "$(sql 'SELECT count(*) FROM telemetry')" ] ||
        fail 'it does not see the rows'
    if in_stack postgres sh -c "$as_dashboard 'DELETE FROM telemetry'" >"$work/out" 2>&1; then fail 'it can write'; fi
}

# publish DEVICE TOPIC PAYLOAD [OPTION...]: over mutual TLS, from outside of the stack.
publish() {
    local device=$1 topic=$2 payload=$3
    shift 3
    timeout 20 mosquitto_pub -V 5 -h localhost -p "$FIRST_PORT" --cafile server-ca.crt --cert "$device.crt" --key "$device.key" \
        -q 1 -t "$topic" -m "$payload" "$@"
}

stored_proven() {
    until_true 'a row with the certificate' \
        is_sql "SELECT count(*) FROM telemetry WHERE device_id = 'pump-1' AND certificate_id IS NOT NULL" 1
}

refuse_topic() {
    publish pump-1 tenant/acme/device/pump-9/telemetry '{}' -d >"$work/out" 2>&1 || true
    grep -q 'RC:135' "$work/out" || fail "no refusal: $(cat "$work/out")"
}

# log_has SERVICE WORDS: not grep -q, which would end the program before it.
log_has() { compose logs --no-color "$1" 2>/dev/null | grep -F -- "$2" >/dev/null; }

# A certificate that the authority's key signed without the registry, and a message that claims another publisher.
refuse_forged() {
    compose run --rm -T prepare -c 'tar -C /secrets -c -f - authority' 2>/dev/null | (umask 077 && tar -x -f -)
    if scripts/test_mtls_device.sh --dir authority acme pump-1 localhost "$FIRST_PORT" >"$work/out" 2>&1; then
        fail 'the broker let it in'
    fi
    grep -q '3. certificate: made' "$work/out" || fail "the certificate was not made: $(cat "$work/out")"
    until_true 'the log of the broker names the certificate' log_has mosquitto 'the registry has no valid certificate with the fingerprint'
    publish pump-1 tenant/acme/device/pump-1/telemetry '{"seq":2}' -D publish user-property sluice-publisher acme/device/pump-9
    until_true 'the claim is removed' \
        is_sql "SELECT count(*) FROM telemetry WHERE device_id = 'pump-1' AND seq = 2 AND certificate_id IS NOT NULL" 1
    [ "$(sql 'SELECT count(*) FROM quarantine_events')" = 0 ] || fail 'a message is in the quarantine'
}

open_session() {
    stdbuf -oL mosquitto_sub -V 5 -h localhost -p "$FIRST_PORT" --cafile server-ca.crt --cert pump-1.crt --key pump-1.key \
        -t tenant/acme/device/pump-1/commands -d >"$work/session" 2>&1 &
    session=$!
    until_true 'the subscription is confirmed' grep -q 'Subscribed (mid' "$work/session"
}

has_ended() { ! kill -0 "$1" 2>/dev/null; }

revoked() {
    grep -q proven "$work/out" || fail "the command shows no proof: $(cat "$work/out")"
    until_true 'the session has ended' has_ended "$session"
    if publish pump-1 tenant/acme/device/pump-1/telemetry '{}' >"$work/out" 2>&1; then fail 'the broker let it in again'; fi
}

# new_device NAME: the commands of the page for another device.
new_device() {
    in_stack sluice sluice device add acme "$1" --no-token >/dev/null
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / -keyout "$1.key" -out "$1.csr" 2>/dev/null
    in_stack sluice sluice cert issue acme "$1" --csr - <"$1.csr" >"$1.crt"
    until_true "the broker lets $1 in" publish "$1" "tenant/acme/device/$1/status" '{}'
}

# publish_on DEVICE: numbers messages until the file `stop` appears; each is sent again until the broker has acknowledged it.
publish_on() {
    local number=0
    until [ -e "$work/stop" ]; do
        number=$((number + 1))
        until publish "$1" "tenant/acme/device/$1/telemetry" "{\"seq\":$number}" >/dev/null 2>&1; do sleep 0.2; done
        say "$number" >"$work/published"
        sleep 0.1
    done
}

restart_each() {
    local service count
    new_device pump-2
    rm -f "$work/stop"
    publish_on pump-2 &
    publisher=$!
    for service in mosquitto postgres sluice prometheus; do
        compose restart "$service" >/dev/null 2>&1
        wait_healthy "$service" sluice
    done
    : >"$work/stop"
    wait "$publisher"
    publisher=
    count=$(cat "$work/published")
    [ "$count" -gt 10 ] || fail "only $count messages were published"
    until_true "all $count messages are stored" \
        is_sql "SELECT count(DISTINCT seq) FROM telemetry WHERE device_id = 'pump-2' AND msg_type = 'telemetry'" "$count"
    say "   $count messages, each stored"
    # The page makes the certificate again for this name.
    say 'SERVER_NAMES=mqtt.check.example' >>compose/.env
}

is_named() {
    openssl s_client -connect "localhost:$FIRST_PORT" </dev/null 2>/dev/null | openssl x509 -noout -checkhost "$1" | grep -q 'does match'
}

new_name() {
    until_true 'the name is in the certificate' is_named mqtt.check.example
    wait_healthy mosquitto
}

upgrade() {
    local before id
    before=$(sql 'SELECT count(*) FROM telemetry')
    sed -i 's/^SLUICE_TAG=.*/SLUICE_TAG=check-upgraded/' compose/.env
    readme 'docker-compose.yml build'
    current='an upgrade keeps the tables'
    wait_healthy mosquitto postgres sluice prometheus
    for id in $(compose ps -q mosquitto sluice); do
        [ "$(docker inspect -f '{{index .Config.Labels "org.opencontainers.image.version"}}' "$id")" = check-upgraded ] ||
            fail 'a container has the old image'
    done
    [ "$(sql 'SELECT count(*) FROM telemetry')" -ge "$before" ] || fail 'rows are gone'
    until_true 'the broker lets pump-2 in' publish pump-2 tenant/acme/device/pump-2/event '{}'
    until_true 'the message is stored' is_sql "SELECT count(*) FROM telemetry WHERE msg_type = 'event'" 1
}

without_plugin() {
    cp compose/.env "$work/env"
    readme 'BROKER_CONFIG=mosquitto.conf'
    current='without the plugin the access rules decide'
    wait_healthy mosquitto sluice
    # Not in the registry, and of the authority: the broker lets it in, and Sluice decides.
    until_true 'the broker lets it in' scripts/test_mtls_device.sh --dir authority acme pump-3 localhost "$FIRST_PORT"
    in_stack sluice sluice device add acme pump-4 --no-token >/dev/null
    until_true 'the broker lets pump-2 in' publish pump-2 tenant/acme/device/pump-2/heartbeat '{}'
    until_true 'the message is stored' is_sql "SELECT count(*) FROM telemetry WHERE msg_type = 'heartbeat'" 1
    publish pump-2 tenant/acme/device/pump-4/telemetry '{}' -d >"$work/out" 2>&1 || true
    grep -q 'RC:135' "$work/out" || fail "a foreign topic is not refused: $(cat "$work/out")"
    cp "$work/env" compose/.env
}

start_again() {
    [ -z "$(docker ps -q --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME")" ] || fail 'a container still runs'
    compose up -d >/dev/null 2>&1
    wait_healthy mosquitto postgres sluice prometheus
    is_sql "SELECT count(*) FROM telemetry WHERE msg_type = 'heartbeat'" 1 || fail 'the rows are gone'
    until_true 'the broker lets pump-2 in' publish pump-2 tenant/acme/device/pump-2/status '{}'
}

remove_stack() { compose --profile guests down --volumes >/dev/null 2>&1; }

# What a failed check leaves behind, for the person who reads it.
show_logs() {
    [ -z "$publisher" ] || kill "$publisher" 2>/dev/null || true
    [ -z "$session" ] || kill "$session" 2>/dev/null || true
    [ -z "$current" ] || printf 'the step that failed: %s\n' "$current" >&2
    (cd "$work/sluice" 2>/dev/null && compose --profile guests ps -a && compose --profile guests logs --no-color --tail 25) >&2 2>/dev/null || true
}
