//! Operators: added, listed, changed, removed, found by the hash of their token.
//!
//! Every change is audited in its own transaction, and ends the operator's sessions in it.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};

use super::sessions::{PersonRow, person};
use crate::domain::caller::CallerRole;
use crate::domain::ids::TenantId;
use crate::domain::operator::{OperatorName, Person};
use crate::domain::ports::Outage;
use crate::domain::token::TokenHash;
use crate::store::error::StoreError;
use crate::store::registry::audit::{self, Actor, Entry};

/// The most operators.
pub(crate) const MAX_OPERATORS: i64 = 1_000;

/// A row of `operators`, without the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub(crate) struct OperatorRow {
    /// The name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// The only tenant that the operator may read and change.
    pub tenant_id: Option<String>,
    /// When the operator was added.
    pub created_at: DateTime<Utc>,
    /// When the token was made.
    pub token_made_at: DateTime<Utc>,
    /// The number of open sessions of the console.
    pub sessions: i64,
}

/// Why an operator was not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OperatorError {
    /// The name is taken.
    #[error("operator {0} exists already")]
    Exists(OperatorName),
    /// There is no such operator.
    #[error("operator {0} not found")]
    Unknown(OperatorName),
    /// Its tenant does not exist.
    #[error("tenant {0} not found")]
    NoTenant(TenantId),
    /// There are [`MAX_OPERATORS`].
    #[error("there are {MAX_OPERATORS} operators, which is the limit")]
    TooMany,
    /// The database failed.
    #[error("{0}")]
    Outage(#[from] Outage),
}

/// A lock that serializes additions, so that the limit holds.
const ADDING: &str = "SELECT pg_advisory_xact_lock(hashtext('sluice operators'))";

const COLUMNS: &str = "SELECT name, role, tenant_id, created_at, token_made_at, (SELECT count(*) FROM console_sessions s
    WHERE s.operator = o.name AND s.expires_at > now()) AS sessions FROM operators o";

/// Adds an operator.
pub(crate) async fn add(
    pool: &PgPool,
    actor: &Actor,
    name: &OperatorName,
    role: CallerRole,
    tenant: Option<&TenantId>,
    token: TokenHash,
) -> Result<OperatorRow, OperatorError> {
    let mut tx = pool.begin().await?;
    sqlx::query(ADDING).execute(&mut *tx).await?;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM operators").fetch_one(&mut *tx).await?;
    if count >= MAX_OPERATORS {
        return Err(OperatorError::TooMany);
    }
    check_tenant(&mut tx, tenant).await?;
    let added = sqlx::query(
        "INSERT INTO operators (name, role, tenant_id, token_sha256) VALUES ($1, $2, $3, $4) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name.as_str())
    .bind(role.label())
    .bind(tenant.map(TenantId::as_str))
    .bind(token.0.as_slice())
    .execute(&mut *tx)
    .await?;
    if added.rows_affected() == 0 {
        return Err(OperatorError::Exists(name.clone()));
    }
    record(
        &mut tx,
        actor,
        "operator.add",
        name,
        tenant.map(TenantId::as_str),
        json!({ "role": role.label() }),
    )
    .await?;
    let row = row(&mut tx, name).await?;
    tx.commit().await?;
    Ok(row)
}

/// Lists a page of operators by name, after `after`.
pub(crate) async fn list(
    pool: &PgPool,
    after: Option<&OperatorName>,
    limit: u32,
) -> Result<Vec<OperatorRow>, OperatorError> {
    let query = format!("{COLUMNS} WHERE name > $1 ORDER BY name LIMIT $2");
    Ok(sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(after.map_or("", OperatorName::as_str))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?)
}

/// The operator of this name.
pub(crate) async fn show(pool: &PgPool, name: &OperatorName) -> Result<OperatorRow, OperatorError> {
    row(&mut *pool.acquire().await?, name).await
}

/// Changes role and tenant; the operator's sessions end.
pub(crate) async fn set_role(
    pool: &PgPool,
    actor: &Actor,
    name: &OperatorName,
    role: CallerRole,
    tenant: Option<&TenantId>,
) -> Result<OperatorRow, OperatorError> {
    let mut tx = pool.begin().await?;
    check_tenant(&mut tx, tenant).await?;
    let was = row(&mut tx, name).await?;
    sqlx::query("UPDATE operators SET role = $2, tenant_id = $3 WHERE name = $1")
        .bind(name.as_str())
        .bind(role.label())
        .bind(tenant.map(TenantId::as_str))
        .execute(&mut *tx)
        .await?;
    end_sessions(&mut tx, name).await?;
    let detail = json!({
        "role": role.label(), "was": was.role, "tenant_id": tenant.map(TenantId::as_str), "tenant_was": was.tenant_id,
    });
    record(&mut tx, actor, "operator.set_role", name, tenant.map(TenantId::as_str), detail).await?;
    let row = row(&mut tx, name).await?;
    tx.commit().await?;
    Ok(row)
}

/// Replaces the token; the operator's sessions end.
pub(crate) async fn set_token(
    pool: &PgPool,
    actor: &Actor,
    name: &OperatorName,
    token: TokenHash,
) -> Result<OperatorRow, OperatorError> {
    let mut tx = pool.begin().await?;
    let changed = sqlx::query(
        "UPDATE operators SET token_sha256 = $2, token_made_at = now() WHERE name = $1",
    )
    .bind(name.as_str())
    .bind(token.0.as_slice())
    .execute(&mut *tx)
    .await?;
    if changed.rows_affected() == 0 {
        return Err(OperatorError::Unknown(name.clone()));
    }
    end_sessions(&mut tx, name).await?;
    let row = row(&mut tx, name).await?;
    record(&mut tx, actor, "operator.token", name, row.tenant_id.as_deref(), json!({})).await?;
    tx.commit().await?;
    Ok(row)
}

/// Removes an operator; the operator's sessions end, by the foreign key.
pub(crate) async fn remove(
    pool: &PgPool,
    actor: &Actor,
    name: &OperatorName,
) -> Result<OperatorRow, OperatorError> {
    let mut tx = pool.begin().await?;
    let row = row(&mut tx, name).await?;
    sqlx::query("DELETE FROM operators WHERE name = $1")
        .bind(name.as_str())
        .execute(&mut *tx)
        .await?;
    record(
        &mut tx,
        actor,
        "operator.remove",
        name,
        row.tenant_id.as_deref(),
        json!({ "role": row.role }),
    )
    .await?;
    tx.commit().await?;
    Ok(row)
}

/// The operator of the token with this hash.
pub(crate) async fn find(pool: &PgPool, token: TokenHash) -> Result<Option<Person>, Outage> {
    let query =
        sqlx::query_as("SELECT name, role, tenant_id FROM operators WHERE token_sha256 = $1");
    let found: Option<PersonRow> =
        query.bind(token.0.as_slice()).fetch_optional(pool).await.map_err(StoreError::from)?;
    found.map(person).transpose()
}

// === impl OperatorError ===

impl From<sqlx::Error> for OperatorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Outage(StoreError::from(error).into())
    }
}

// === private helpers ===

async fn row(
    connection: &mut PgConnection,
    name: &OperatorName,
) -> Result<OperatorRow, OperatorError> {
    let query = format!("{COLUMNS} WHERE name = $1 FOR UPDATE");
    sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?
        .ok_or_else(|| OperatorError::Unknown(name.clone()))
}

async fn check_tenant(
    connection: &mut PgConnection,
    tenant: Option<&TenantId>,
) -> Result<(), OperatorError> {
    let Some(tenant) = tenant else { return Ok(()) };
    let found: Option<i32> = sqlx::query_scalar("SELECT 1 FROM tenants WHERE tenant_id = $1")
        .bind(tenant.as_str())
        .fetch_optional(connection)
        .await?;
    found.map(drop).ok_or_else(|| OperatorError::NoTenant(tenant.clone()))
}

async fn end_sessions(
    connection: &mut PgConnection,
    name: &OperatorName,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query("DELETE FROM console_sessions WHERE operator = $1");
    query.bind(name.as_str()).execute(connection).await.map(drop)
}

async fn record(
    connection: &mut PgConnection,
    actor: &Actor,
    action: &'static str,
    name: &OperatorName,
    tenant: Option<&str>,
    mut detail: Value,
) -> Result<(), sqlx::Error> {
    detail["operator"] = name.as_str().into();
    audit::record(connection, Entry { actor, action, tenant, device: None, detail }).await
}
