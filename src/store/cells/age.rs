//! Whether a registry is older than the copy of it that a cell has: a restored backup, or a clone.
//!
//! It compares what a registry never loses by itself: the last sign of life of the cell, revocations in
//! force, the last change of a device, and the newest change of all. Positions in the WAL are not compared:
//! they differ after a promotion that lost nothing. It reads both sides and changes nothing, except for the
//! note that the registry is older.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgArguments;
use sqlx::query::QueryScalar;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres};
use tokio::time::timeout;
use uuid::Uuid;

use super::contents::READ_PATIENCE;
use super::registry_link::RegistryLink;
use crate::domain::ports::Outage;
use crate::store::connection::writer_connection::{WriterConnection, answer};
use crate::store::error::StoreError;

/// Rows that are read and compared at once; of the devices, those that changed last.
const PAGE: i64 = 10_000;

/// What the copy has and the registry lacks. Of rows, a change that is still on its way may be the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Newer {
    /// The last sign of life of this cell, which a registry never forgets by itself.
    SignOfLife {
        /// The one that came back from the registry.
        here: DateTime<Utc>,
        /// The one that the registry has.
        there: DateTime<Utc>,
    },
    /// Certificates whose revocation is in force.
    Revocations {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// Devices whose row is older at the registry.
    Devices {
        /// How many.
        count: usize,
        /// One of them.
        example: String,
    },
    /// The newest change of all, which a deletion at the registry may explain.
    Change {
        /// The row.
        what: String,
        /// When it changed.
        at: DateTime<Utc>,
        /// The newest change at the registry.
        there: Option<DateTime<Utc>>,
    },
}

#[derive(sqlx::FromRow)]
struct NewestChange {
    what: String,
    at: DateTime<Utc>,
}

// === impl Newer ===

impl Newer {
    /// The sentence for the operator.
    pub fn sentence(&self) -> String {
        match self {
            Self::SignOfLife { here, there } => format!(
                "its last sign of life of this cell is of {}, and that of {} came from it",
                there.format("%F %T%.3f UTC"),
                here.format("%F %T%.3f UTC")
            ),
            Self::Revocations { count, example } => format!(
                "the copy here has {count} revocations in force that it lacks, such as that of {example}"
            ),
            Self::Devices { count, example } => format!(
                "there are {count} devices that changed later in the copy here, such as {example}"
            ),
            Self::Change { what, at, there } => {
                let there = there.map_or_else(
                    || "it has no row".to_owned(),
                    |at| format!("its newest change is of {}", at.format("%F %T UTC")),
                );
                format!(
                    "the copy here has {what}, changed at {}, and {there}; only a deletion there would explain that",
                    at.format("%F %T UTC")
                )
            }
        }
    }
}

/// The sentence about a registry that is older, for readiness, `status` and the doctor.
pub fn older_registry(registry: &str, why: &str) -> String {
    format!(
        "the registry {registry} is older than the copy here: {why}. Is it a restored backup? Its next changes may not \
         arrive here"
    )
}

/// Notes that the registry is older, until this database joins again.
pub async fn note_older(pool: &PgPool, why: &str) -> Result<(), Outage> {
    let query = sqlx::query("UPDATE cell SET older_registry = $1 WHERE older_registry IS NULL");
    answer(query.bind(why).execute(pool)).await?;
    Ok(())
}

/// The same as [`newer_in_cell`], by a connection of the daemon.
pub(crate) async fn newer_in_session(
    cell: &mut WriterConnection,
    registry: &mut RegistryLink,
    schema: &str,
) -> Result<Option<Newer>, Outage> {
    compared(&mut cell.connection, &mut registry.session.connection, schema).await
}

/// What `cell` has in `schema` and `registry` lacks. `None`: nothing shows that the registry is older.
pub async fn newer_in_cell(
    cell: &mut RegistryLink,
    registry: &mut RegistryLink,
    schema: &str,
) -> Result<Option<Newer>, Outage> {
    compared(&mut cell.session.connection, &mut registry.session.connection, schema).await
}

// --- private helpers ---

async fn compared(
    here: &mut PgConnection,
    there: &mut PgConnection,
    schema: &str,
) -> Result<Option<Newer>, Outage> {
    let schema = schema.replace('"', "\"\"");
    let compared = async {
        if let Some(found) = revocations(here, there, &schema).await? {
            return Ok(Some(found));
        }
        if let Some(found) = devices(here, there, &schema).await? {
            return Ok(Some(found));
        }
        newest_change(here, there, &schema).await
    };
    let late = |_| Outage("the copy was not compared with the registry in time".to_owned());
    let compared: Result<_, sqlx::Error> = timeout(READ_PATIENCE, compared).await.map_err(late)?;
    compared.map_err(|error| StoreError::from(error).into())
}

async fn revocations(
    here: &mut PgConnection,
    there: &mut PgConnection,
    schema: &str,
) -> Result<Option<Newer>, sqlx::Error> {
    let page = format!(
        "SELECT certificate_id FROM \"{schema}\".revoked_certificates WHERE not_after > now() AND certificate_id > $1 \
         ORDER BY certificate_id LIMIT $2"
    );
    let unknown = format!(
        "SELECT id FROM unnest($1::uuid[]) id WHERE NOT EXISTS \
         (SELECT FROM \"{schema}\".revoked_certificates r WHERE r.certificate_id = id)"
    );
    let (mut last, mut missing) = (Uuid::nil(), Vec::new());
    loop {
        let query: QueryScalar<'_, Postgres, Uuid, PgArguments> =
            sqlx::query_scalar(AssertSqlSafe(page.clone()));
        let ids = query.bind(last).bind(PAGE).fetch_all(&mut *here).await?;
        let Some(&end) = ids.last() else { break };
        last = end;
        let query: QueryScalar<'_, Postgres, Uuid, PgArguments> =
            sqlx::query_scalar(AssertSqlSafe(unknown.clone()));
        missing.extend(query.bind(ids).fetch_all(&mut *there).await?);
    }
    let Some(first) = missing.first() else { return Ok(None) };
    let name = format!(
        "SELECT tenant_id || '/' || device_id || ' (serial number ' || serial_number || ')' \
         FROM \"{schema}\".revoked_certificates WHERE certificate_id = $1"
    );
    let example = sqlx::query_scalar(AssertSqlSafe(name)).bind(first).fetch_one(here).await?;
    Ok(Some(Newer::Revocations { count: missing.len(), example }))
}

async fn devices(
    here: &mut PgConnection,
    there: &mut PgConnection,
    schema: &str,
) -> Result<Option<Newer>, sqlx::Error> {
    let page = format!(
        "SELECT tenant_id, device_id, updated_at FROM \"{schema}\".devices WHERE isfinite(updated_at) \
         ORDER BY updated_at DESC LIMIT $1"
    );
    let rows: Vec<(String, String, DateTime<Utc>)> =
        sqlx::query_as(AssertSqlSafe(page)).bind(PAGE).fetch_all(here).await?;
    let (mut tenants, mut names, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for (tenant, name, at) in rows {
        tenants.push(tenant);
        names.push(name);
        times.push(at);
    }
    let older = format!(
        "SELECT d.tenant_id || '/' || d.device_id FROM unnest($1::text[], $2::text[], $3::timestamptz[]) \
             AS known (tenant_id, device_id, updated_at) \
         JOIN \"{schema}\".devices d USING (tenant_id, device_id) WHERE d.updated_at < known.updated_at"
    );
    let query = sqlx::query_scalar(AssertSqlSafe(older)).bind(tenants).bind(names).bind(times);
    let older: Vec<String> = query.fetch_all(there).await?;
    let count = older.len();
    Ok(older.into_iter().next().map(|example| Newer::Devices { count, example }))
}

async fn newest_change(
    here: &mut PgConnection,
    there: &mut PgConnection,
    schema: &str,
) -> Result<Option<Newer>, sqlx::Error> {
    let of = |what: &str, column: &str, table: &str| {
        format!(
            "(SELECT {what} AS what, {column} AS at FROM \"{schema}\".{table} WHERE isfinite({column}) \
             ORDER BY {column} DESC LIMIT 1)"
        )
    };
    let device = |of: &str| format!("'{of} ' || tenant_id || '/' || device_id");
    let newest = [
        of("'tenant ' || tenant_id", "created_at", "tenants"),
        of(&device("device"), "updated_at", "devices"),
        of(&device("a certificate of"), "created_at", "device_certificates"),
        of(&device("a revocation of"), "revoked_at", "revoked_certificates"),
    ];
    let newest = newest.join(" UNION ALL ") + " ORDER BY at DESC LIMIT 1";
    let query = sqlx::query_as(AssertSqlSafe(newest.clone()));
    let Some(NewestChange { what, at }) = query.fetch_optional(here).await? else {
        return Ok(None);
    };
    let known: Option<NewestChange> =
        sqlx::query_as(AssertSqlSafe(newest)).fetch_optional(there).await?;
    let there = known.map(|change| change.at);
    Ok(there.is_none_or(|there| there < at).then_some(Newer::Change { what, at, there }))
}
