#!/bin/sh
# Tests a device from end to end: a key, a certificate, a message over mutual TLS, and its result in the database.
#
# It signs with the authority's key, without the registry: use it for a trial, not for a fleet.
set -eu

CERTIFICATE_DAYS=30
# The limit of X.509 for a common name.
CN_LIMIT=64
LOOK_SECONDS=15

usage() {
    cat <<'END'
Usage: scripts/test_mtls_device.sh [--dir DIR] TENANT DEVICE HOST PORT

Makes a key, a request and a certificate for the device in
DIR/devices/TENANT/DEVICE, if they are missing. Publishes one message to the
broker at HOST PORT over mutual TLS, and looks for the result in the database.
DIR (./certs) is the directory that scripts/generate_device_ca.sh made.

Environment:
  DATABASE_URL       the database, or libpq's PGHOST, PGDATABASE and so on;
                     without any of them the database is not read
  PSQL               the command to use instead of psql, for example
                     'docker compose exec -T postgres psql -U postgres sluice'
  PROVISION_TOKEN    sent with the message, for a device whose certificate the
                     registry does not hold

Exit code: 0 stored (or published, when the database is not read), 1 not, 64 for
a wrong argument, 69 when a program is missing.
END
}

say() { printf '%s\n' "$*"; }

die() {
    code=$1
    shift
    printf 'error: %s\n' "$*" >&2
    exit "$code"
}

wrong() {
    usage >&2
    die 64 "$*"
}

# check_id WHAT VALUE: the registry's rule for names, without those that would leave a directory.
check_id() {
    case $2 in
    '' | . | .. | *[!A-Za-z0-9._:-]*)
        wrong "the $1 '$2' is not 1 to 64 characters of A-Z a-z 0-9 . _ : -" ;;
    esac
    [ "${#2}" -le 64 ] || wrong "the $1 '$2' is longer than 64 characters."
}

need() { command -v "$1" >/dev/null || die 69 "$1 is missing: install it (apt-get install $2)."; }

need_authority() {
    for file in device-ca.crt device-ca.key server-ca.crt; do
        [ -r "$dir/$file" ] || die 1 "$dir/$file is missing: run scripts/generate_device_ca.sh --dir $dir first."
    done
}

make_key() {
    if [ -s "$own/device.key" ]; then
        say "1. key: kept, $own/device.key"
        return
    fi
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$own/device.key.new" 2>/dev/null
    mv "$own/device.key.new" "$own/device.key"
    say "1. key: made, $own/device.key"
}

# openssl reads a bare slash in -subj as the start of the next part: the common name would end at the tenant, and the
# certificate would name another subject.
make_request() {
    escaped=$(say "$cn" | sed 's,/,\\/,g')
    openssl req -new -sha256 -key "$own/device.key" -subj "/CN=$escaped" -out "$own/device.csr"
    said=$(openssl req -in "$own/device.csr" -noout -subject -nameopt RFC2253)
    [ "$said" = "subject=CN=$cn" ] || die 1 "openssl wrote '$said' into the request instead of CN=$cn."
    say "2. request: made for CN=$cn"
}

# Whether there is a certificate that can be used.
certified() {
    [ -s "$own/device.crt" ] && openssl x509 -in "$own/device.crt" -noout -checkend 3600 >/dev/null 2>&1 &&
        openssl verify -CAfile "$dir/device-ca.crt" "$own/device.crt" >/dev/null 2>&1 &&
        [ "$(openssl x509 -in "$own/device.crt" -noout -pubkey)" = "$(openssl pkey -in "$own/device.key" -pubout)" ]
}

make_certificate() {
    if certified; then
        say "3. certificate: kept, $(openssl x509 -in "$own/device.crt" -noout -enddate)"
        return
    fi
    cat >"$own/profile" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = URI:urn:sluice:$tenant:$device
END
    openssl x509 -req -sha256 -days "$CERTIFICATE_DAYS" -set_serial "0x4$(openssl rand -hex 16 | cut -c 2-)" \
        -in "$own/device.csr" -CA "$dir/device-ca.crt" -CAkey "$dir/device-ca.key" -extfile "$own/profile" \
        -out "$own/device.crt.new" 2>"$own/said" || {
        cat "$own/said" >&2
        die 1 "openssl could not sign the certificate; its output is above."
    }
    mv "$own/device.crt.new" "$own/device.crt"
    say "3. certificate: made, $own/device.crt, $(openssl x509 -in "$own/device.crt" -noout -enddate)"
}

payload() {
    printf '{"ts":%s,"seq":%s,"metrics":{"mtls_test":1}' "$(date +%s)" "$seq"
    [ -z "${PROVISION_TOKEN-}" ] || printf ',"provision_token":"%s"' "$PROVISION_TOKEN"
    printf '}'
}

# The message comes by standard input: a token must not be in a list of arguments.
publish() {
    result=0
    payload | mosquitto_pub -V mqttv5 -q 1 -h "$host" -p "$port" -t "$topic" -s -d \
        --cafile "$dir/server-ca.crt" --cert "$own/device.crt" --key "$own/device.key" >"$own/said" 2>&1 || result=$?
    if [ "$result" -eq 0 ] && grep -q 'PUBACK (Mid: [0-9]*, RC:\(0\|16\))' "$own/said"; then
        say "4. publish: the broker at $host:$port accepted it, topic $topic, seq $seq"
        return
    fi
    cat "$own/said" >&2
    if grep -q 'RC:135' "$own/said"; then
        die 1 "the broker accepted the device and refused its topic (not authorized): check its acl_file."
    fi
    die 1 "the broker at $host:$port did not accept the message. Check that it runs, that its certificate is for this host" \
        "(from $dir/server-ca.crt), and that the device's certificate is not revoked. See Mosquitto's log."
}

# Runs psql by PSQL or DATABASE_URL; the password of a URL is passed by the environment.
look() {
    if [ -n "${PSQL-}" ]; then
        # shellcheck disable=SC2086  # a command with its arguments
        $PSQL -X -q -A -t -v ON_ERROR_STOP=1 -v t="$tenant" -v d="$device" -v n="$seq" -v topic="$topic"
    else
        PGPASSWORD=${password:-${PGPASSWORD-}} psql ${url:+"$url"} -X -q -A -t -w -v ON_ERROR_STOP=1 \
            -v t="$tenant" -v d="$device" -v n="$seq" -v topic="$topic"
    fi
}

# Separates the password from DATABASE_URL and decodes %XX.
split_url() {
    url=$(say "${DATABASE_URL-}" | sed -n 's,^\([a-z]*://[^:/@]*\):[^@]*@,\1@,;p')
    password=$(say "${DATABASE_URL-}" | sed -n 's,^[a-z]*://[^:/@]*:\([^@]*\)@.*,\1,p' | awk '{
        digits = "0123456789ABCDEF"
        while (match($0, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
            code = toupper(substr($0, RSTART + 1, 2))
            value = 16 * (index(digits, substr(code, 1, 1)) - 1) + index(digits, substr(code, 2, 1)) - 1
            done = done substr($0, 1, RSTART - 1) sprintf("%c", value)
            $0 = substr($0, RSTART + 3)
        }
        print done $0
    }')
}

# The result of the message: 'stored ...', 'refused REASON: ...', or nothing yet.
verdict() {
    look <<'END'
SELECT 'stored at ' || received_at FROM telemetry
WHERE tenant_id = :'t' AND device_id = :'d' AND seq = :n AND time > now() - interval '1 hour'
UNION ALL
SELECT 'refused ' || reason || ': ' || coalesce(detail, '') FROM quarantine_events
WHERE topic = :'topic' AND quarantined_at > now() - interval '1 hour'
    AND position(convert_to('"seq":' || :'n', 'UTF8') IN payload) > 0
LIMIT 1;
END
}

advise() {
    case $1 in
    *UNREGISTERED_DEVICE*) say "   The device is not registered: sluice tenant add $tenant; sluice device add $tenant $device" ;;
    *TOKEN_*) say "   The certificate is not registered: import $own/device.crt (sluice cert import), or set PROVISION_TOKEN." ;;
    *SUSPENDED* | *DEVICE_*) say "   The device is registered but not allowed to publish: sluice device show $tenant $device" ;;
    esac
}

look_up() {
    if [ -z "${PSQL-}${DATABASE_URL-}${PGHOST-}${PGDATABASE-}${PGSERVICE-}" ]; then
        say "5. database: not read; set DATABASE_URL or PSQL to see the result."
        return
    fi
    [ -n "${PSQL-}" ] || need psql postgresql-client
    split_url
    tries=0
    while [ "$tries" -lt "$LOOK_SECONDS" ]; do
        found=$(verdict) || die 1 "the query failed: check DATABASE_URL or PSQL."
        case $found in
        stored*)
            say "5. database: $found"
            return
            ;;
        refused*)
            say "5. database: $found"
            advise "$found"
            exit 1
            ;;
        esac
        tries=$((tries + 1))
        sleep 1
    done
    die 1 "after $LOOK_SECONDS seconds the database has neither the message nor a refusal of it. Check that sluice runs" \
        "(GET /readyz at its OPS_BIND)."
}

dir=certs
case ${1-} in
-h | --help)
    usage
    exit
    ;;
--dir)
    [ -n "${2-}" ] || wrong "--dir needs a value."
    dir=$2
    shift 2
    ;;
esac
[ "$#" -eq 4 ] || wrong "the arguments are TENANT DEVICE HOST PORT."
tenant=$1 device=$2 host=$3 port=$4
check_id tenant "$tenant"
check_id device "$device"
cn="$tenant/device/$device"
[ "${#cn}" -le "$CN_LIMIT" ] || wrong "CN=$cn has ${#cn} characters and X.509 allows $CN_LIMIT: shorten a name."
topic="tenant/$tenant/device/$device/telemetry"
# Finds this very message again.
seq=$(($(date +%s) * 100000 + $$ % 100000))

need openssl openssl
need mosquitto_pub mosquitto-clients
need_authority
umask 077
own="$dir/devices/$tenant/$device"
mkdir -p "$own"
make_key
make_request
make_certificate
publish
look_up
