#!/bin/sh
# Makes, in a new database server, the role Sluice logs in as and the database it owns.
#
# It is no superuser: CREATEROLE is for sluice_reader, the role of dashboards that may see one tenant.
set -eu

file=${SLUICE_PASSWORD_FILE:-/run/secrets/sluice_password}

psql -v ON_ERROR_STOP=1 -q -U "$POSTGRES_USER" -d postgres <<END
\\set password \`cat '$file'\`
CREATE ROLE sluice LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE sluice OWNER sluice;
END
