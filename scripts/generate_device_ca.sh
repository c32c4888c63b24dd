#!/bin/sh
# Makes what a broker needs before the first device connects: the authorities, its own certificate, a first CRL.
#
# It needs openssl, and Sluice not at all. It never overwrites: it checks and keeps the files that are there, and says so.
set -eu

CA_DAYS=3650
# Some clients refuse a server certificate that is valid for longer.
SERVER_DAYS=825

usage() {
    cat <<'END'
Usage: scripts/generate_device_ca.sh [--dir DIR] [--server-name NAME]... [--crl-days N]

Makes these files in DIR (./certs) if they are missing, with keys on P-256:
  device-ca.crt, device-ca.key   the authority that signs devices
  server-ca.crt, server-ca.key   the authority that signs the broker
  server.crt, server.key         the broker's certificate, for localhost and
                                 each --server-name (a host name or an address)
  combined-ca.crt                both authorities, for tools that take one file
  device-crl.pem                 the first CRL: empty, valid for N days (30)
  device-ca.cnf and its records  what 'openssl ca' needs to revoke by hand

Only their owner can read the keys. The CRL must be renewed before it expires,
or the broker refuses every device. Sluice renews it. By hand, in DIR:
  openssl ca -config device-ca.cnf -revoke CERTIFICATE
  openssl ca -config device-ca.cnf -gencrl -crldays 30 -out new.pem &&
      mv new.pem device-crl.pem
and then send SIGHUP to Mosquitto.

Exit code: 0 when all files are there, 1 when a file is wrong or openssl failed,
64 for a wrong argument, 69 when openssl is missing.
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

# Runs openssl and shows its output only when it failed.
quietly() {
    "$@" >"$scratch/said" 2>&1 || {
        cat "$scratch/said" >&2
        die 1 "this failed: $*"
    }
}

# have WHAT KEY CERTIFICATE: whether the pair is there; half a pair, or two that do not belong together, ends the script.
have() {
    if ! [ -e "$2" ] && ! [ -e "$3" ]; then return 1; fi
    [ -s "$2" ] || die 1 "$dir/$3 is there and its key $dir/$2 is not: bring the key, or move the certificate away."
    [ -s "$3" ] || die 1 "$dir/$2 is there and its certificate $dir/$3 is not: bring it, or move the key away."
    of_key=$(openssl pkey -in "$2" -pubout 2>/dev/null) || die 1 "$dir/$2 is no private key openssl can read."
    of_certificate=$(openssl x509 -in "$3" -noout -pubkey 2>/dev/null) || die 1 "$dir/$3 is no certificate in PEM."
    [ "$of_key" = "$of_certificate" ] || die 1 "$dir/$2 is not the key of $dir/$3: one of them is from elsewhere."
    [ -n "$(find "$2" -perm 600 -o -perm 400)" ] || die 1 "others than its owner may use $dir/$2: chmod 600 $dir/$2."
    openssl x509 -in "$3" -noout -checkend 0 >/dev/null ||
        die 1 "$1, $dir/$3, has expired: move it and its key away, and start this again."
    say "kept: $1, $dir/$3"
}

# Positive, and 124 bits of it random: nobody can guess or meet it.
new_serial() { say "0x4$(openssl rand -hex 16 | cut -c 2-)"; }

new_key() { quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }

# make_authority NAME WHAT: an authority of devices or servers, never of other authorities.
make_authority() {
    if have "the authority of $2" "$1.key" "$1.crt"; then return; fi
    cat >"$scratch/$1.cnf" <<END
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = Sluice $2 $(openssl rand -hex 4)
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
    new_key "$scratch/$1.key"
    quietly openssl req -x509 -new -sha256 -days "$CA_DAYS" -set_serial "$(new_serial)" \
        -config "$scratch/$1.cnf" -key "$scratch/$1.key" -out "$scratch/$1.crt"
    publish "$1.key" 600
    publish "$1.crt" 644
    say "made: the authority of $2, $dir/$1.crt"
}

# The value of subjectAltName.
alternative_names() {
    entries='DNS:localhost,IP:127.0.0.1,IP:::1'
    for name in $names; do
        case $name in
        localhost | 127.0.0.1 | ::1) ;;
        *:*) entries="$entries,IP:$name" ;;
        *[!0-9.]*) entries="$entries,DNS:$name" ;;
        *) entries="$entries,IP:$name" ;;
        esac
    done
    say "$entries"
}

# Checks that the broker's certificate is for all the names; else no device would trust the broker.
check_server_names() {
    for name in $names; do
        case $name in
        *:*) check=-checkip ;;
        *[!0-9.]*) check=-checkhost ;;
        *) check=-checkip ;;
        esac
        openssl x509 -in server.crt -noout "$check" "$name" | grep -q 'does match' ||
            die 1 "$dir/server.crt is not for $name: move it and server.key away, and run this again."
    done
    openssl verify -CAfile server-ca.crt server.crt >/dev/null 2>&1 ||
        die 1 "$dir/server.crt is not signed by $dir/server-ca.crt: move it and server.key away, and run this again."
}

make_server() {
    if have "the broker's certificate" server.key server.crt; then
        check_server_names
        return
    fi
    cat >"$scratch/server.cnf" <<END
[req]
distinguished_name = name
prompt = no
[name]
CN = mqtt-broker
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $(alternative_names)
END
    new_key "$scratch/server.key"
    quietly openssl req -new -sha256 -config "$scratch/server.cnf" -key "$scratch/server.key" -out "$scratch/server.csr"
    quietly openssl x509 -req -sha256 -days "$SERVER_DAYS" -set_serial "$(new_serial)" -in "$scratch/server.csr" \
        -CA server-ca.crt -CAkey server-ca.key -extfile "$scratch/server.cnf" -extensions server \
        -out "$scratch/server.crt"
    publish server.key 600
    publish server.crt 644
    check_server_names
    say "made: the broker's certificate, $dir/server.crt, for $(alternative_names)"
}

make_bundle() {
    cat server-ca.crt device-ca.crt >"$scratch/combined-ca.crt"
    if cmp -s "$scratch/combined-ca.crt" combined-ca.crt; then
        say "kept: both authorities in one file, $dir/combined-ca.crt"
        return
    fi
    [ ! -e combined-ca.crt ] ||
        die 1 "$dir/combined-ca.crt holds other authorities: move it away, and run this again."
    publish combined-ca.crt 644
    say "made: both authorities in one file, $dir/combined-ca.crt"
}

# The records of 'openssl ca'. Paths in it are relative: it is used from its own directory.
make_records() {
    [ -e device-ca.index ] || : >device-ca.index
    [ -e device-ca.crlnumber ] || say 01 >device-ca.crlnumber
    [ ! -e device-ca.cnf ] || return 0
    cat >"$scratch/device-ca.cnf" <<'END'
[ca]
default_ca = devices
[devices]
certificate = device-ca.crt
private_key = device-ca.key
database = device-ca.index
crlnumber = device-ca.crlnumber
crl_extensions = crl
default_md = sha256
default_crl_days = 30
unique_subject = no
[crl]
authorityKeyIdentifier = keyid
END
    publish device-ca.cnf 644
}

# Dates the CRL 300 s back, so that a broker whose clock is behind accepts it.
backdated() {
    openssl ca -help 2>&1 | grep -q -e -crl_lastupdate || return 0
    start=$(date -u -d "@$(($(date +%s) - 300))" +%Y%m%d%H%M%SZ 2>/dev/null) || return 0
    end=$(date -u -d "@$(($(date +%s) + crl_days * 86400))" +%Y%m%d%H%M%SZ)
    say "-crl_lastupdate $start -crl_nextupdate $end"
}

check_crl() {
    openssl crl -in "$1" -noout -CAfile device-ca.crt 2>&1 | grep -q 'verify OK' ||
        die 1 "$dir/device-crl.pem is not a CRL signed by $dir/device-ca.crt: move it away, and run this again."
}

make_crl() {
    if [ -e device-crl.pem ]; then
        check_crl device-crl.pem
        say "kept: the CRL, $dir/device-crl.pem, $(openssl crl -in device-crl.pem -noout -nextupdate)"
        return
    fi
    # shellcheck disable=SC2046  # two options with a value each, or none
    quietly openssl ca -config device-ca.cnf -gencrl -crldays "$crl_days" $(backdated) -out "$scratch/device-crl.pem"
    check_crl "$scratch/device-crl.pem"
    publish device-crl.pem 644
    say "made: the first CRL, $dir/device-crl.pem, $(openssl crl -in device-crl.pem -noout -nextupdate)"
}

# publish NAME MODE: moves a file from the scratch directory to its place, in one step.
publish() {
    chmod "$2" "$scratch/$1"
    mv "$scratch/$1" "$1"
}

dir=certs
names=
crl_days=30
while [ "$#" -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit
        ;;
    --dir | --server-name | --crl-days) [ -n "${2-}" ] || wrong "$1 needs a value." ;;
    *) wrong "unknown argument: '$1'." ;;
    esac
    case $1 in
    --dir) dir=$2 ;;
    --server-name)
        case $2 in
        *[!A-Za-z0-9.:_-]*) wrong "'$2' is neither a host name nor an address." ;;
        esac
        names="$names $2"
        ;;
    --crl-days)
        case $2 in
        *[!0-9]* | ?????*) wrong "--crl-days needs a number of days, not '$2'." ;;
        esac
        [ "$2" -gt 0 ] || wrong "--crl-days needs at least one day."
        crl_days=$2
        ;;
    esac
    shift 2
done

command -v openssl >/dev/null || die 69 "openssl is missing: install it (apt-get install openssl)."
mkdir -p "$dir" || die 1 "cannot make the directory $dir."
cd "$dir"
umask 077
scratch=$(mktemp -d ./.new.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

make_authority device-ca devices
make_authority server-ca brokers
make_server
make_bundle
make_records
make_crl
