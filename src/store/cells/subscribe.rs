//! Creates the subscription, whose statement contains the password of the registry.
//!
//! The statement is made inside a function of this session, and its URL is a parameter: an error in the
//! server's log, `pg_stat_activity` and the log of DDL show the call without it. What still shows it is
//! `log_statement = all`, a slow statement that is logged with its parameters, and pgaudit: only a role
//! that may set these settings switches them off.

use sqlx::PgConnection;

use super::PUBLICATION;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;

/// As far as the role may set them: a superuser all, another role what it was granted.
const KEEP_OUT_OF_LOGS: &str = "SELECT set_config(name, value, false) FROM (VALUES ('log_statement', 'none'), \
        ('log_min_duration_statement', '-1'), ('log_min_duration_sample', '-1'), ('log_transaction_sample_rate', '0'), \
        ('log_min_error_statement', 'panic'), ('log_parameter_max_length', '0'), \
        ('log_parameter_max_length_on_error', '0'), ('track_activities', 'off'), ('pg_stat_statements.track_utility', 'off'), \
        ('pgaudit.log', 'none')) AS quiet (name, value) \
    WHERE has_parameter_privilege(name, 'SET')";

/// From Postgres 18 on, large transactions are applied in parallel unless `streaming` is off; appliers side by side would
/// reset each other's count of the rows that notify. A caught error is not logged; the new one has no context that quotes the statement.
const MAKE_FUNCTION: &str = "CREATE FUNCTION pg_temp.sluice_subscribe(name text, url text, publication text, copies boolean) \
    RETURNS void LANGUAGE plpgsql AS $$ \
    BEGIN \
        EXECUTE format('CREATE SUBSCRIPTION %I CONNECTION %L PUBLICATION %I \
            WITH (create_slot = false, slot_name = %L, streaming = off, copy_data = %s)', name, url, publication, name, copies::text); \
    EXCEPTION WHEN OTHERS THEN \
        RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM; \
    END $$";

const CALL: &str = "SELECT pg_temp.sluice_subscribe($1, $2, $3, $4)";

const DROP_FUNCTION: &str = "DROP FUNCTION pg_temp.sluice_subscribe(text, text, text, boolean)";

/// What is created.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewSubscription<'a> {
    /// Its name, and that of its slot.
    pub name: &'a str,
    /// The URL of the registry.
    pub url: &'a str,
    /// Whether the rows are copied first.
    pub copy: bool,
}

/// Switches off what would log the parameters of this session.
pub(super) async fn keep_out_of_logs(connection: &mut PgConnection) -> Result<(), Outage> {
    answer(sqlx::query(KEEP_OUT_OF_LOGS).fetch_all(connection)).await?;
    Ok(())
}

// === impl NewSubscription ===

impl NewSubscription<'_> {
    /// The statement for people.
    pub(super) fn shown(self) -> String {
        let Self { name, url, copy } = self;
        let url = url.replace('\'', "''");
        format!(
            "CREATE SUBSCRIPTION {name} CONNECTION '{url}' PUBLICATION {PUBLICATION} \
             WITH (create_slot = false, slot_name = '{name}', streaming = off, copy_data = {copy})"
        )
    }

    /// Creates it.
    pub(super) async fn create(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(MAKE_FUNCTION).execute(&mut *connection).await?;
        let call = sqlx::query(CALL).bind(self.name).bind(self.url).bind(PUBLICATION);
        call.bind(self.copy).execute(&mut *connection).await?;
        sqlx::query(DROP_FUNCTION).execute(connection).await?;
        Ok(())
    }
}
