#!/bin/sh
# Makes the files that the stack needs: authorities, the broker's certificate, the first CRL, passwords.
#
# Each service gets a directory of its own with the files it needs, owned by its user and readable by that user only. Existing
# files are kept, so it may run before every start. To bring a secret of your own, put it there before the first start.
set -eu

root=${SECRETS_ROOT:-/secrets}
crl_dir=${CRL_DIR:-/crl}
plugin_dir=${PLUGIN_DIR:-/plugin}
postgres_data=${POSTGRES_DATA:-/data/postgres}
generate=${GENERATE:-/usr/local/bin/generate_device_ca.sh}
sluice=${SLUICE_OWNER:-65532:65532}
broker=${BROKER_OWNER:-1883:1883}
postgres=${POSTGRES_OWNER:-999:999}
grafana=${GRAFANA_OWNER:-472:0}
# The broker's host names and addresses, separated by spaces.
names=${SERVER_NAMES:-}
# If it is not empty, Sluice listens for EST and may use the broker's certificate.
est=${EST_BIND:-}

say() { printf 'prepare.sh: %s\n' "$*"; }

# own OWNER MODE FILE: sets owner and mode, then renames, so that no service sees a file that it cannot read yet.
own() {
    chmod "$2" "$3.new"
    chown "$1" "$3.new"
    mv "$3.new" "$3"
}

# secret OWNER FILE: 48 random hexadecimal digits, unless it is there.
secret() {
    if [ -s "$2" ]; then return; fi
    printf '%s' "$(openssl rand -hex 24)" >"$2.new"
    own "$1" 400 "$2"
    say "made: $2"
}

# text OWNER FILE CONTENT: writes the file each time.
text() {
    printf '%s\n' "$3" >"$2.new"
    own "$1" 400 "$2"
}

# copy OWNER MODE FROM TO: copies when the content differs, so that a renewed certificate arrives.
copy() {
    if cmp -s "$3" "$4"; then return; fi
    cp "$3" "$4.new"
    own "$1" "$2" "$4"
    say "put: $4"
}

make_authorities() {
    set -- --dir "$root/authority" --server-name mosquitto
    for name in $names; do
        set -- "$@" --server-name "$name"
    done
    "$generate" "$@"
}

share_certificates() {
    for file in server.key server.crt device-ca.crt; do
        copy "$broker" 400 "$root/authority/$file" "$root/broker/$file"
    done
    copy "$sluice" 600 "$root/authority/device-ca.key" "$root/sluice/device-ca.key"
    for file in device-ca.crt server-ca.crt; do
        copy "$sluice" 400 "$root/authority/$file" "$root/sluice/$file"
    done
    if [ -n "$est" ]; then
        copy "$sluice" 600 "$root/authority/server.key" "$root/sluice/server.key"
        copy "$sluice" 400 "$root/authority/server.crt" "$root/sluice/server.crt"
    fi
    # Sluice renews it from then on.
    if ! [ -s "$crl_dir/device-crl.pem" ]; then
        copy "$sluice" 644 "$root/authority/device-crl.pem" "$crl_dir/device-crl.pem"
    fi
    chown "$sluice" "$crl_dir"
    chmod 755 "$crl_dir"
}

make_passwords() {
    secret "$postgres" "$root/postgres/postgres_password"
    secret "$postgres" "$root/postgres/sluice_password"
    secret "$postgres" "$root/postgres/dashboard_password"
    secret "$grafana" "$root/grafana/admin_password"
    copy "$grafana" 400 "$root/postgres/dashboard_password" "$root/grafana/dashboard_password"
    secret "$sluice" "$root/sluice/admin_token"
    secret "$sluice" "$root/sluice/mqtt_password"
    secret "$sluice" "$root/sluice/publisher_proof_secret"
    text "$sluice" "$root/sluice/database_url" \
        "postgres://sluice:$(cat "$root/postgres/sluice_password")@postgres:5432/sluice"
}

# The broker's password file (hashes), and the login of its health check (a file that mosquitto_sub reads).
make_broker_logins() {
    if [ -s "$root/broker/passwords" ] && [ -s "$root/broker/mosquitto_sub" ]; then return; fi
    probe=$(openssl rand -hex 24)
    printf 'sluice:%s\nprobe:%s\n' "$(cat "$root/sluice/mqtt_password")" "$probe" >"$root/broker/passwords.new"
    mosquitto_passwd -U "$root/broker/passwords.new"
    own "$broker" 400 "$root/broker/passwords"
    text "$broker" "$root/broker/mosquitto_sub" "-u probe
-P $probe"
    say "made: $root/broker/passwords"
}

# The bridge between the guests' broker and this one: a user here, and there a configuration with its password.
make_bridge() {
    if [ -s "$root/guests/bridge.conf" ]; then return; fi
    password=$(openssl rand -hex 24)
    printf 'guests:%s\n' "$password" >"$root/broker/guests.new"
    mosquitto_passwd -U "$root/broker/guests.new"
    { grep -v '^guests:' "$root/broker/passwords" || true; cat "$root/broker/guests.new"; } >"$root/broker/passwords.new"
    rm "$root/broker/guests.new"
    own "$broker" 400 "$root/broker/passwords"
    text "$broker" "$root/guests/bridge.conf" "connection main
address mosquitto:1883
bridge_protocol_version mqttv50
remote_clientid guests
remote_username guests
remote_password $password
cleansession true
notifications false
bridge_outgoing_retain false
restart_timeout 1 30
topic public/# both 0"
    say "made: $root/guests/bridge.conf"
}

# Volumes that are root's when they are new: of the plugin's socket, where only Sluice and its group may look, and of the tables.
give_volumes() {
    chown "$sluice" "$plugin_dir"
    chmod 750 "$plugin_dir"
    if [ -z "$(ls -A "$postgres_data")" ]; then
        chown "$postgres" "$postgres_data"
        chmod 700 "$postgres_data"
    fi
}

umask 077
mkdir -p "$root/authority" "$root/sluice" "$root/broker" "$root/guests" "$root/postgres" "$root/grafana" "$crl_dir" \
    "$plugin_dir" "$postgres_data"
make_authorities
make_passwords
make_broker_logins
make_bridge
share_certificates
give_volumes
for service in "sluice $sluice" "broker $broker" "guests $broker" "postgres $postgres" "grafana $grafana"; do
    chown "${service#* }" "$root/${service%% *}"
    chmod 500 "$root/${service%% *}"
done
say "all files are there"
