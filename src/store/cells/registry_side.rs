//! What is read and written at the registry: its facts, the publication, the slot and the row of a cell,
//! the sign of life.
//!
//! It decides nothing.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, Executor, PgPool};

use super::age::Newer;
use super::registry_link::RegistryLink;
use super::{PUBLICATION, REPLICATED};
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::answer;
use crate::store::schema::migrate::{SchemaState, read_state};

const FACTS: &str = "SELECT current_setting('server_version_num')::int AS version, current_setting('wal_level') AS wal_level, \
    pg_is_in_recovery() AS is_standby, \
    current_setting('max_replication_slots')::bigint - (SELECT count(*) FROM pg_replication_slots) AS free_slots, \
    current_setting('max_wal_senders')::bigint - (SELECT count(*) FROM pg_stat_replication) AS free_senders, \
    (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_megabytes, \
    (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user) AS may_replicate, \
    (SELECT system_identifier FROM pg_control_system())::text || '/' || current_database() AS id, \
    current_schema()::text AS schema, current_user::text AS role";

/// What the role may do with the tables, and what exists of the cell.
const RIGHTS: &str = "SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'sluice_' || $1) AS has_slot, \
    EXISTS (SELECT FROM pg_publication WHERE pubname = $3) AS has_publication, \
    ARRAY(SELECT name FROM unnest($2::text[]) name WHERE name NOT IN \
        (SELECT tablename FROM pg_publication_tables WHERE pubname = $3 AND schemaname = current_schema())) AS unpublished, \
    ARRAY(SELECT name FROM unnest($2::text[] || '{cell,_sqlx_migrations}') name WHERE NOT has_table_privilege(name, 'SELECT')) \
        AS unreadable, \
    ARRAY(SELECT name FROM unnest($2::text[]) name WHERE row_security_active(name)) AS hidden, \
    has_table_privilege('cells', 'INSERT') AND has_table_privilege('cells', 'UPDATE') \
        AND has_table_privilege('cells', 'DELETE') AS writes_cells, \
    has_database_privilege(current_database(), 'CREATE') AND NOT EXISTS (SELECT FROM unnest($2::text[]) name \
        JOIN pg_class c ON c.oid = to_regclass(name) WHERE NOT pg_has_role(c.relowner, 'USAGE')) AS may_publish";

const OVERVIEW: &str = "SELECT c.cell_id, c.slot, c.joined_at, c.seen_at, \
        extract(epoch FROM clock_timestamp() - c.seen_at)::float8 AS seen_seconds, \
        s.slot_name IS NOT NULL AS has_slot, coalesce(s.active, false) AS is_active, s.wal_status, \
        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint AS held_bytes, \
        coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn), 0)::bigint AS lag_bytes \
    FROM cells c LEFT JOIN pg_replication_slots s ON s.slot_name = c.slot AND s.database = current_database() \
    WHERE $1::text IS NULL OR c.cell_id = $1 ORDER BY c.cell_id LIMIT 1000";

/// A slot is created before its cell writes anything: its transaction must not have written.
const CREATE_SLOT: &str = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')::text";

const DROP_SLOT: &str =
    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";

/// The process that sends to a cell which is gone may still hold the slot.
const END_SENDER: &str = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
    WHERE slot_name = $1 AND active_pid IS NOT NULL";

const ADD: &str = "INSERT INTO cells (cell_id, slot) VALUES ($1, $2) \
    ON CONFLICT (cell_id) DO UPDATE SET slot = excluded.slot, joined_at = now(), seen_at = clock_timestamp()";

/// It always grows, also when the clock steps back. A registry whose last one is older than the one that came
/// back to the cell ($2) was restored: writing there would remove the evidence.
const BEAT: &str = "UPDATE cells SET seen_at = greatest(clock_timestamp(), seen_at + interval '1 microsecond') \
    WHERE cell_id = $1 AND ($2::timestamptz IS NULL OR seen_at >= $2) RETURNING seen_at";

/// Facts of the registry's server.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RegistryFacts {
    /// `server_version_num`.
    pub version: i32,
    /// `wal_level`.
    pub wal_level: String,
    /// Whether it is a standby.
    pub is_standby: bool,
    /// Free replication slots.
    pub free_slots: i64,
    /// Free processes that send.
    pub free_senders: i64,
    /// `max_slot_wal_keep_size` in megabytes; -1 means without a bound.
    pub keep_megabytes: Option<i64>,
    /// Whether the role may use replication.
    pub may_replicate: Option<bool>,
    /// Which database it is.
    pub id: String,
    /// Where its tables are.
    pub schema: Option<String>,
    /// The role.
    pub role: String,
}

/// What the role of the registry's URL may do there, and what exists already.
#[expect(clippy::struct_excessive_bools, reason = "each is a right or a fact of its own")]
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RegistryRights {
    /// It has a slot for a cell of this name.
    pub has_slot: bool,
    /// The publication exists.
    pub has_publication: bool,
    /// Tables that the publication lacks.
    pub unpublished: Vec<String>,
    /// Tables that the role may not read.
    pub unreadable: Vec<String>,
    /// Tables whose rows row-level security hides from the role.
    pub hidden: Vec<String>,
    /// Whether the role may write `cells`.
    pub writes_cells: bool,
    /// Whether the role may create the publication.
    pub may_publish: bool,
}

/// A cell, as the registry sees it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
pub struct CellOverview {
    /// The cell.
    pub cell_id: String,
    /// Its slot.
    pub slot: String,
    /// When it joined.
    pub joined_at: DateTime<Utc>,
    /// When its Sluice last wrote here.
    pub seen_at: DateTime<Utc>,
    /// How long ago that is.
    pub seen_seconds: f64,
    /// Whether the slot exists.
    pub has_slot: bool,
    /// Whether the cell is connected.
    pub is_active: bool,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// The WAL that the registry keeps for it, in bytes.
    pub held_bytes: i64,
    /// How far it is behind, in bytes of WAL.
    pub lag_bytes: i64,
}

// === impl CellOverview ===

impl CellOverview {
    /// What is wrong with the slot, so that the cell can never catch up.
    pub fn slot_fault(&self) -> Option<&'static str> {
        match (self.has_slot, self.wal_status.as_deref()) {
            (false, _) => Some("the slot does not exist any longer"),
            (true, Some("lost")) => {
                Some("the registry has removed WAL that the cell needs (max_slot_wal_keep_size)")
            }
            _ => None,
        }
    }

    /// Whether the registry has forgotten a sign of life: `echo` came back from it, and was read before.
    pub fn is_older_than(&self, echo: Option<DateTime<Utc>>) -> Option<Newer> {
        let (here, there) = (echo?, self.seen_at);
        (there < here).then_some(Newer::SignOfLife { here, there })
    }
}

// === impl RegistryLink ===

impl RegistryLink {
    /// Reads the server's facts.
    pub async fn facts(&mut self) -> Result<RegistryFacts, Outage> {
        Ok(answer(sqlx::query_as(FACTS).fetch_one(&mut self.session.connection)).await?)
    }

    /// Reads the state of the schema.
    pub async fn schema(&mut self) -> Result<SchemaState, Outage> {
        read_state(&mut self.session).await
    }

    /// Reads the rights of the role.
    pub async fn rights(&mut self, cell_id: &str) -> Result<RegistryRights, Outage> {
        let query = sqlx::query_as(RIGHTS).bind(cell_id).bind(&REPLICATED[..]).bind(PUBLICATION);
        Ok(answer(query.fetch_one(&mut self.session.connection)).await?)
    }

    /// The name of the cell that this database is itself, if it is one.
    pub async fn own_cell(&mut self) -> Result<Option<String>, Outage> {
        let query = sqlx::query_scalar("SELECT cell_id FROM cell WHERE left_at IS NULL");
        Ok(answer(query.fetch_optional(&mut self.session.connection)).await?)
    }

    /// Runs one statement without parameters.
    pub async fn execute(&mut self, statement: &str) -> Result<(), Outage> {
        let statement = AssertSqlSafe(statement.to_owned());
        answer(self.session.connection.execute(statement)).await?;
        Ok(())
    }

    /// Creates the slot: from now on the registry keeps what the cell has not received.
    pub async fn create_slot(&mut self, slot: &str) -> Result<(), Outage> {
        let query = sqlx::query(CREATE_SLOT).bind(slot);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Notes the cell.
    pub async fn add_cell(&mut self, cell_id: &str, slot: &str) -> Result<(), Outage> {
        let query = sqlx::query(ADD).bind(cell_id).bind(slot);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Ends what sends to the cell, drops its slot, and forgets the cell.
    pub async fn remove_cell(&mut self, cell_id: &str, slot: &str) -> Result<(), Outage> {
        // The process ends by itself when the cell has left; a role without the right must wait for it.
        let ended = sqlx::query(END_SENDER).bind(slot).execute(&mut self.session.connection);
        let _is_left_to_itself = answer(ended).await;
        let query = sqlx::query(DROP_SLOT).bind(slot);
        answer(query.execute(&mut self.session.connection)).await?;
        let query = sqlx::query("DELETE FROM cells WHERE cell_id = $1").bind(cell_id);
        answer(query.execute(&mut self.session.connection)).await?;
        Ok(())
    }

    /// Writes the sign of life; its time by the registry's clock. `echo` is the last one that came back.
    /// `None` means that the registry does not know the cell, or that its last one is older than `echo`.
    pub async fn beat(
        &mut self,
        cell_id: &str,
        echo: Option<DateTime<Utc>>,
    ) -> Result<Option<DateTime<Utc>>, Outage> {
        let query = sqlx::query_scalar(BEAT).bind(cell_id).bind(echo);
        Ok(answer(query.fetch_optional(&mut self.session.connection)).await?)
    }

    /// How the registry sees one cell.
    pub async fn overview_of(&mut self, cell_id: &str) -> Result<Option<CellOverview>, Outage> {
        let query = sqlx::query_as(OVERVIEW).bind(cell_id);
        Ok(answer(query.fetch_optional(&mut self.session.connection)).await?)
    }
}

/// The cells of this registry.
pub async fn overview(pool: &PgPool) -> Result<Vec<CellOverview>, Outage> {
    let query = sqlx::query_as(OVERVIEW).bind(None::<String>);
    Ok(answer(query.fetch_all(pool)).await?)
}

/// `max_slot_wal_keep_size` of this server in megabytes; -1 means without a bound.
pub async fn keep_megabytes(pool: &PgPool) -> Result<i64, Outage> {
    let query = sqlx::query_scalar(
        "SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'",
    );
    Ok(answer(query.fetch_one(pool)).await?)
}
