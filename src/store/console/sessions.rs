//! Sessions of the console: opened, found by the hash of their cookie, listed, ended, purged.
//!
//! Each start and each end on demand is audited in its own transaction.

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::postgres::PgArguments;
use sqlx::query::QueryAs;
use sqlx::{PgPool, Postgres};
use uuid::Uuid;

use crate::domain::caller::CallerRole;
use crate::domain::operator::{OperatorName, Person, SignInMethod};
use crate::domain::ports::Outage;
use crate::domain::time::Timestamp;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// The most sessions of one name; the oldest gives way.
const MAX_SESSIONS_OF_NAME: i64 = 50;

/// How old `seen_at` may be before a request updates it, in seconds: one write a minute, not one a
/// request.
const SEEN_STEP_SECONDS: f64 = 60.0;

/// Ends one session, and returns what the audit log says of it.
const END: &str = "DELETE FROM console_sessions";
const ENDED: &str = "RETURNING session_id, name, tenant_id";

/// Rows per DELETE, so that no lock lasts long.
const PURGED_AT_ONCE: i64 = 5_000;

/// A session to open.
#[derive(Clone, Debug)]
pub(crate) struct NewSession<'a> {
    /// The hash of its cookie.
    pub hash: TokenHash,
    /// Who signed in.
    pub person: &'a Person,
    /// How.
    pub method: SignInMethod,
    /// The operator whose token opened it.
    pub operator: Option<&'a OperatorName>,
    /// The proof that `ADMIN_TOKEN` opened it.
    pub proof: Option<TokenHash>,
    /// The client's address, for the audit log.
    pub address: String,
    pub now: Timestamp,
    pub expires_at: Timestamp,
}

/// A valid session.
#[derive(Clone, Debug)]
pub(crate) struct FoundSession {
    pub person: Person,
    pub proof: Option<TokenHash>,
}

/// A session in a list.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct ConsoleSessionRow {
    pub session_id: Uuid,
    pub name: String,
    pub role: String,
    pub tenant_id: Option<String>,
    pub method: String,
    pub created_at: DateTime<Utc>,
    pub seen_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

type EndedRow = (Uuid, String, Option<String>);

pub(super) type PersonRow = (String, String, Option<String>);

type FoundRow = (String, String, Option<String>, Option<Vec<u8>>, DateTime<Utc>);

/// Opens a session.
pub(crate) async fn open(pool: &PgPool, new: &NewSession<'_>) -> Result<Uuid, Outage> {
    insert(pool, new).await.map_err(|error| StoreError::from(error).into())
}

/// The session of this hash that has neither expired nor been idle since `idle_since`.
pub(crate) async fn find(
    pool: &PgPool,
    hash: TokenHash,
    now: Timestamp,
    idle_since: Timestamp,
) -> Result<Option<FoundSession>, Outage> {
    let query = sqlx::query_as(
        "SELECT name, role, tenant_id, proof, seen_at FROM console_sessions
         WHERE session_sha256 = $1 AND expires_at > $2 AND seen_at > $3",
    );
    let query = query.bind(hash.0.as_slice()).bind(now.to_utc()).bind(idle_since.to_utc());
    let found: Option<FoundRow> = query.fetch_optional(pool).await.map_err(StoreError::from)?;
    let Some((name, role, tenant, proof, seen_at)) = found else { return Ok(None) };
    if now.seconds_since(seen_at.into()) > SEEN_STEP_SECONDS {
        let query = sqlx::query(
            "UPDATE console_sessions SET seen_at = greatest(seen_at, $2) WHERE session_sha256 = $1",
        );
        let query = query.bind(hash.0.as_slice()).bind(now.to_utc());
        query.execute(pool).await.map_err(StoreError::from)?;
    }
    Ok(Some(FoundSession {
        person: person((name, role, tenant))?,
        proof: proof.and_then(|bytes| bytes.try_into().ok()).map(TokenHash),
    }))
}

/// Ends the session of this hash; false if there is none.
pub(crate) async fn close(pool: &PgPool, actor: &Actor, hash: TokenHash) -> Result<bool, Outage> {
    let query = format!("{END} WHERE session_sha256 = $1 {ENDED}");
    let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(hash.0.to_vec());
    end(pool, actor, query).await.map_err(|error| StoreError::from(error).into())
}

/// Lists a page of open sessions, the newest first, after `before`.
pub(crate) async fn list(
    pool: &PgPool,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<ConsoleSessionRow>, Outage> {
    let query = sqlx::query_as(
        "SELECT session_id, name, role, tenant_id, method, created_at, seen_at, expires_at FROM console_sessions
         WHERE expires_at > now() AND ($1::uuid IS NULL OR session_id < $1) ORDER BY session_id DESC LIMIT $2",
    );
    let query = query.bind(before).bind(i64::from(limit));
    query.fetch_all(pool).await.map_err(|error| StoreError::from(error).into())
}

/// Ends a session by its identifier; false if there is none.
pub(crate) async fn close_by_id(pool: &PgPool, actor: &Actor, id: Uuid) -> Result<bool, Outage> {
    let query = format!("{END} WHERE session_id = $1 {ENDED}");
    let query = sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(id);
    end(pool, actor, query).await.map_err(|error| StoreError::from(error).into())
}

/// Deletes the sessions that expired or were idle too long; returns how many are left.
pub(crate) async fn purge(
    pool: &PgPool,
    now: Timestamp,
    idle_since: Timestamp,
) -> Result<i64, Outage> {
    let query = sqlx::query(
        "DELETE FROM console_sessions WHERE session_sha256 IN (SELECT session_sha256 FROM console_sessions
             WHERE expires_at <= $1 OR seen_at <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED)",
    );
    let query = query.bind(now.to_utc()).bind(idle_since.to_utc()).bind(PURGED_AT_ONCE);
    query.execute(pool).await.map_err(StoreError::from)?;
    let count = sqlx::query_scalar("SELECT count(*) FROM console_sessions");
    Ok(count.fetch_one(pool).await.map_err(StoreError::from)?)
}

/// Audits a refused login.
pub(crate) async fn record_refusal(
    pool: &PgPool,
    address: &str,
    what: &'static str,
) -> Result<(), Outage> {
    let actor = Actor::new("console");
    let detail = json!({ "address": address, "with": what });
    let entry = Entry {
        actor: &actor,
        action: "console.login_refused",
        tenant: None,
        device: None,
        detail,
    };
    let mut connection = pool.acquire().await.map_err(StoreError::from)?;
    audit::record(&mut connection, entry).await.map_err(|error| StoreError::from(error).into())
}

/// The person of a row.
pub(super) fn person((name, role, tenant): PersonRow) -> Result<Person, Outage> {
    let role = CallerRole::from_label(&role)
        .ok_or_else(|| Outage(format!("a row of {name} has the unknown role {role:?}")))?;
    let tenant = tenant.map(|tenant| tenant.parse()).transpose();
    let tenant = tenant.map_err(|_| Outage(format!("a row of {name} has an invalid tenant")))?;
    Ok(Person { name, role, tenant })
}

// === private helpers ===

async fn insert(pool: &PgPool, new: &NewSession<'_>) -> Result<Uuid, sqlx::Error> {
    let id = Uuid::now_v7();
    let Person { name, role, tenant } = new.person;
    let tenant = tenant.as_ref().map(crate::domain::ids::TenantId::as_str);
    let mut tx = pool.begin().await?;
    sqlx::query(
        "DELETE FROM console_sessions WHERE session_sha256 IN
             (SELECT session_sha256 FROM console_sessions WHERE name = $1 ORDER BY created_at DESC OFFSET $2)",
    )
    .bind(name)
    .bind(MAX_SESSIONS_OF_NAME - 1)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO console_sessions
             (session_sha256, session_id, name, role, tenant_id, method, operator, proof, created_at, seen_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10)",
    )
    .bind(new.hash.0.as_slice())
    .bind(id)
    .bind(name)
    .bind(role.label())
    .bind(tenant)
    .bind(new.method.label())
    .bind(new.operator.map(OperatorName::as_str))
    .bind(new.proof.map(|proof| proof.0.to_vec()))
    .bind(new.now.to_utc())
    .bind(new.expires_at.to_utc())
    .execute(&mut *tx)
    .await?;
    let detail = json!({
        "session": id, "role": role.label(), "method": new.method.label(), "address": new.address,
    });
    let actor = Actor::of_console(name);
    let entry = Entry { actor: &actor, action: "console.login", tenant, device: None, detail };
    audit::record(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(id)
}

async fn end(
    pool: &PgPool,
    actor: &Actor,
    query: QueryAs<'_, Postgres, EndedRow, PgArguments>,
) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let Some((id, name, tenant)) = query.fetch_optional(&mut *tx).await? else { return Ok(false) };
    let entry = Entry {
        actor,
        action: "console.logout",
        tenant: tenant.as_deref(),
        device: None,
        detail: json!({ "session": id, "name": name }),
    };
    audit::record(&mut tx, entry).await?;
    tx.commit().await?;
    Ok(true)
}
