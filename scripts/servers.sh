# shellcheck shell=bash
# A private Postgres and a private Mosquitto under one directory, for scripts/demo. To be sourced after lib.sh.
#
# Only this machine reaches them: Postgres through a Unix socket, Mosquitto on a loopback port. Other servers of this machine
# are never touched: our processes hold our mark open, and only those are signalled.
#
# The caller sets STATE, an absolute directory that exists, and may set POSTGRES_OPTIONS, more arguments for Postgres, and
# WRITE_CONF, a function that prints Mosquitto's configuration.

# Descriptor 9 of every process started here is this file. A process id may be reused; this mark cannot.
mark_of() { say "$STATE/mark"; }

# The processes that hold our mark.
ours() {
    local process
    for process in /proc/[0-9]*; do
        if [ "$process/fd/9" -ef "$(mark_of)" ]; then say "${process#/proc/}"; fi
    done
}

is_ours() { [ "/proc/$1/fd/9" -ef "$(mark_of)" ]; }

# launch LOG COMMAND...: starts it with our mark, in a session of its own, out of reach of Ctrl-C and of the terminal's end.
# Its process id is then in LAUNCHED.
launch() {
    local log=$1
    shift
    # The log exists before the process, so that waiting for a line in it cannot fail.
    : >"$log"
    setsid "$@" </dev/null >>"$log" 2>&1 9>>"$(mark_of)" 8>&- 7>&- &
    LAUNCHED=$!
}

# stop_ours SIGNAL PID: ends a process of ours, with KILL after 40 s. A process that has ended is no failure.
stop_ours() {
    local signal=$1 pid=$2 waited=0
    is_ours "$pid" || return 0
    kill -s "$signal" "$pid" 2>/dev/null || return 0
    while is_ours "$pid"; do
        if [ "$waited" -eq 400 ]; then kill -s KILL "$pid" 2>/dev/null || true; fi
        [ "$waited" -lt 450 ] || return 0
        sleep 0.1
        waited=$((waited + 1))
    done
}

# Ends the processes that still hold our mark, which a killed run left behind. Parents end their children.
stop_rest() {
    local pid parent round
    for round in 1 2 3 4; do
        for pid in $(ours); do
            parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status" 2>/dev/null || true)
            # INT is an orderly end for all of them; Postgres then does not wait for its clients.
            if [ -n "$parent" ] && ! is_ours "$parent"; then stop_ours INT "$pid"; fi
        done
        [ -n "$(ours)" ] || return 0
        # Children of a killed process end on their own.
        sleep "$round"
    done
}

# prepare_home: sets the directory of the servers' files (SERVERS) and their account (AS: a command to put before theirs).
# Postgres refuses to run as root, and an ordinary account cannot enter root's directories.
prepare_home() {
    SERVERS="$STATE/servers"
    AS=()
    if [ -L "$SERVERS" ] && ! [ -d "$SERVERS" ]; then rm -f "$SERVERS"; fi
    if [ "$(id -u)" -ne 0 ]; then
        [ -d "$SERVERS" ] || mkdir -m 700 "$SERVERS" || die "$EXIT_UNAVAILABLE" "cannot write $STATE."
        [ -w "$SERVERS" ] || die "$EXIT_UNAVAILABLE" "$STATE belongs to another user: run this as $(stat -c %U "$STATE"), or remove the directory."
        return
    fi
    local account
    if [ -d "$SERVERS/" ]; then
        account=$(stat -L -c %u "$SERVERS")
    else
        account=$(id -u postgres 2>/dev/null || id -u nobody)
    fi
    AS=(setpriv "--reuid=$account" "--regid=$(id -g "$account" 2>/dev/null || say "$account")" --clear-groups)
    if ! [ -d "$SERVERS/" ]; then
        if "${AS[@]}" test -x "$STATE/."; then
            mkdir -m 700 "$SERVERS"
        else
            ln -s "$(mktemp -d /var/tmp/sluice-demo.XXXXXX)" "$SERVERS"
            say "no ordinary account can enter $STATE: the servers' files are in $(readlink "$SERVERS")"
        fi
        chown "$account" "$SERVERS/"
    fi
    SERVERS=$(cd "$SERVERS" && pwd -P)
}

# as_server COMMAND...: runs it with the servers' account, from a directory they may enter, with an empty environment.
as_server() { (cd "$SERVERS" && exec "${AS[@]}" env -i PATH="$PATH" LC_ALL=C.UTF-8 "$@"); }

# --- Postgres ---

# Sets SOCKET, the directory of the socket: the system allows its path about a hundred bytes, and Postgres no comma.
prepare_socket() {
    SOCKET="$SERVERS"
    case $SOCKET in *[,\"\']*) SOCKET= ;; esac
    if [ -z "$SOCKET" ] || [ "$(printf %s "$SOCKET" | wc -c)" -gt 85 ]; then
        SOCKET=$(as_server mktemp -d /tmp/sluice-demo.XXXXXX)
        say "$SOCKET" >"$STATE/socket"
    fi
}

# Removes the directory of the socket if it is outside STATE.
remove_socket() {
    local socket
    [ -e "$STATE/socket" ] || return 0
    read -r socket <"$STATE/socket" || true
    case $socket in /tmp/sluice-demo.??????) rm -rf "$socket" ;; esac
    rm -f "$STATE/socket"
}

run_psql() { as_server "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$SOCKET" -p 5432 -U "$@"; }

# Makes the data directory. One that was interrupted is made again.
prepare_postgres() {
    local data="$SERVERS/postgres" version
    PG_BIN=$(postgres_bin)
    if ! [ -d "$data" ]; then
        say "making a Postgres data directory"
        rm -rf "$data.new"
        as_server "$PG_BIN/initdb" -U postgres -A trust -E UTF8 --locale=C -D "$data.new" >"$STATE/initdb.log" 2>&1 || {
            tail -n 20 "$STATE/initdb.log" >&2
            die "$EXIT_UNAVAILABLE" "initdb failed; the end of $STATE/initdb.log is above"
        }
        mv "$data.new" "$data"
    fi
    [ -e "$data/PG_VERSION" ] || die "$EXIT_UNAVAILABLE" "$data is incomplete: start again after 'scripts/demo --clean'."
    version=$(cat "$data/PG_VERSION")
    case $("$PG_BIN/postgres" --version) in
    *" $version"[.\ ]* | *" $version" | *" $version"beta* | *" $version"rc*) ;;
    *) die "$EXIT_UNAVAILABLE" "the data in $data is of Postgres $version, this machine has $("$PG_BIN/postgres" --version): start again after 'scripts/demo --clean'." ;;
    esac
}

# A process id in $1/postmaster.pid may be stale, and then belong to any process.
clear_stale_postgres() {
    local data=$1 pid
    [ -e "$data/postmaster.pid" ] || return 0
    read -r pid <"$data/postmaster.pid" || true
    if [ -n "$pid" ] && [ "/proc/$pid/cwd" -ef "$data" ]; then
        die "$EXIT_UNAVAILABLE" "process $pid, a Postgres that this script did not start, uses $data: stop it first."
    fi
    rm -f "$data/postmaster.pid"
}

# Starts Postgres; its process id is in POSTGRES, its log is postgres.log.
start_postgres() {
    start_server postgres 5432
    # shellcheck disable=SC2034  # for those who source this
    POSTGRES=$LAUNCHED
}

# start_server NAME PORT [OPTION...]: starts a Postgres on the data directory NAME. PORT is the number in the name of its socket.
# Its process id is in LAUNCHED, its log is NAME.log.
start_server() {
    local name=$1 port=$2 data="$SERVERS/$1" log="$STATE/$1.log" postgres
    shift 2
    clear_stale_postgres "$data"
    launch "$log" "${AS[@]}" env -i PATH="$PATH" LC_ALL=C.UTF-8 "$PG_BIN/postgres" -D "$data" -k "$SOCKET" -p "$port" \
        -c listen_addresses= -c unix_socket_permissions=0700 -c max_connections=50 -c shared_buffers=64MB \
        ${POSTGRES_OPTIONS[@]+"${POSTGRES_OPTIONS[@]}"} "$@"
    postgres=$LAUNCHED
    owned "$name" "$postgres" INT
    until run_psql postgres -p "$port" -d postgres -c 'SELECT 1' >/dev/null 2>&1; do
        runs "$postgres" || {
            tail -n 20 "$log" >&2
            die "$EXIT_UNAVAILABLE" "Postgres did not start; the end of $log is above"
        }
        sleep 0.1
    done
    # Sluice is no superuser here either: it owns its database and may create the role for readers.
    if [ -z "$(run_psql postgres -p "$port" -d postgres -At -c "SELECT 1 FROM pg_database WHERE datname = 'sluice'")" ]; then
        run_psql postgres -p "$port" -d postgres -c "DO \$\$ BEGIN CREATE ROLE sluice LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN END \$\$"
        run_psql postgres -p "$port" -d postgres -c 'CREATE DATABASE sluice OWNER sluice'
    fi
    LAUNCHED=$postgres
}

# --- Mosquitto ---

is_free_port() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The previous port if it is free, else one below the system's range of ephemeral ports.
pick_port() {
    local port=${1-} tries=0
    while [ -z "$port" ] || ! is_free_port "$port"; do
        port=$((20000 + RANDOM % 12000))
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || die "$EXIT_UNAVAILABLE" "no free port was found on 127.0.0.1"
    done
    say "$port"
}

# The port in the file $1, if it holds one.
port_of_last_time() {
    local port=''
    if [ -e "$1" ]; then read -r port <"$1" || true; fi
    case $port in *[!0-9]*) port= ;; esac
    say "$port"
}

# A broker without access control, for this machine only.
write_mosquitto_conf() {
    local home=$1 port=$2
    cat <<END
# Written at each start. Only this machine reaches it; any client there may connect.
listener $port 127.0.0.1
allow_anonymous true
persistence true
persistence_location $home/
autosave_interval 30
autosave_on_changes false
persistent_client_expiration 14d
max_inflight_messages 16000
max_queued_messages 1000000
max_queued_bytes 1073741824
message_size_limit 16777216
sys_interval 10
set_tcp_nodelay true
log_dest stderr
END
}

# Starts Mosquitto; its process id is in MOSQUITTO, its ports are in MQTT_PORT and, where WRITE_CONF gives it a second one, in
# MQTTS_PORT. Its log is mosquitto.log.
start_mosquitto() {
    local home="$SERVERS/mosquitto" log="$STATE/mosquitto.log" inner outer tries=0
    inner=$(port_of_last_time "$STATE/mqtt_port")
    outer=$(port_of_last_time "$STATE/mqtts_port")
    as_server mkdir -p "$home"
    while :; do
        MQTT_PORT=$(pick_port "$inner")
        MQTTS_PORT=$(pick_port "$outer")
        "${WRITE_CONF:-write_mosquitto_conf}" "$home" "$MQTT_PORT" "$MQTTS_PORT" | as_server tee "$home/mosquitto.conf" >/dev/null
        launch "$log" "${AS[@]}" env -i PATH="$PATH" "$(command -v mosquitto)" -c "$home/mosquitto.conf"
        MOSQUITTO=$LAUNCHED
        until grep -q 'mosquitto version .* running' "$log"; do
            runs "$MOSQUITTO" || break
            sleep 0.05
        done
        if runs "$MOSQUITTO"; then break; fi
        tries=$((tries + 1))
        # Another process took the port between the check and Mosquitto's bind.
        if [ "$tries" -ge 10 ] || ! grep -q 'Address already in use' "$log"; then
            tail -n 20 "$log" >&2
            die "$EXIT_UNAVAILABLE" "Mosquitto did not start; the end of $log is above"
        fi
        inner='' outer=''
    done
    owned mosquitto "$MOSQUITTO" TERM
    say "$MOSQUITTO" >"$STATE/mosquitto.pid"
    say "$MQTT_PORT" >"$STATE/mqtt_port"
    say "$MQTTS_PORT" >"$STATE/mqtts_port"
}

# Whether a child of this script has not ended yet.
runs() { kill -0 "$1" 2>/dev/null && [ "$(cut -d ' ' -f 3 <"/proc/$1/stat" 2>/dev/null)" != Z ]; }
