#!/bin/sh
# Stands in for the entrypoint of the image `postgres` where no registry is reached: the first start makes the database and runs
# /docker-entrypoint-initdb.d; each start runs the server. It knows only what compose/docker-compose.yml uses.
set -eu

if ! [ -s "$PGDATA/PG_VERSION" ]; then
    # shellcheck disable=SC2086  # several arguments
    initdb -D "$PGDATA" --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl -D "$PGDATA" -w -o "-c listen_addresses=''" start
    export POSTGRES_USER=postgres
    for script in /docker-entrypoint-initdb.d/*.sh; do /bin/sh "$script"; done
    pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@" -c "listen_addresses=*"
