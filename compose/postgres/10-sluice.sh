#!/bin/sh
# Creates the role that Sluice logs in as, and the database it owns, in a new Postgres.
#
# The role is no superuser. It has CREATEROLE to create sluice_reader, the role for dashboards of one tenant.
set -eu

file=${SLUICE_PASSWORD_FILE:-/run/secrets/sluice_password}

psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d postgres <<END
\\set password \`cat '$file'\`
CREATE ROLE sluice LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE sluice OWNER sluice;
END
