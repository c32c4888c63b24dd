#!/bin/sh
# Creates the login of the dashboard on the tables, in a new Postgres. It may run again: it then sets the password.
#
# The role reads what sluice_reader reads, of all tenants: no hash of a token, no operator, no session. It writes nothing.
set -eu

file=${DASHBOARD_PASSWORD_FILE:-/run/secrets/dashboard_password}

psql -v ON_ERROR_STOP=1 -q -U "${POSTGRES_USER:-postgres}" -d postgres <<END
\\set password \`cat '$file'\`
-- The schema of Sluice grants its tables to this role, and creates it where it is missing.
SELECT 'CREATE ROLE sluice_reader NOLOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_reader') \\gexec
SELECT 'CREATE ROLE sluice_dashboard' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'sluice_dashboard') \\gexec
ALTER ROLE sluice_dashboard LOGIN BYPASSRLS CONNECTION LIMIT 20 PASSWORD :'password';
ALTER ROLE sluice_dashboard SET default_transaction_read_only = on;
ALTER ROLE sluice_dashboard SET statement_timeout = '30s';
GRANT sluice_reader TO sluice_dashboard;
END
