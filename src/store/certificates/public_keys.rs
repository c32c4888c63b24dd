//! The hashes of public keys of rows that were written without them: before the column existed, or
//! by plain SQL.
//!
//! It reads no certificate: the caller computes the hash.

use sqlx::PgPool;
use uuid::Uuid;

use crate::domain::ports::Outage;
use crate::store::error::StoreError;

/// A row whose hash is missing.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RowWithoutKey {
    /// The certificate.
    pub id: Uuid,
    /// Its PEM.
    pub cert_pem: String,
}

/// At most `limit` rows that have a PEM and no hash.
pub async fn missing(pool: &PgPool, limit: i64) -> Result<Vec<RowWithoutKey>, Outage> {
    sqlx::query_as(
        "SELECT id, cert_pem FROM device_certificates WHERE public_key_sha256 IS NULL AND cert_pem IS NOT NULL \
         ORDER BY id LIMIT $1",
    )
    .bind(limit)
    .fetch_all(pool)
    .await
    .map_err(|error| StoreError::from(error).into())
}

/// Stores the hashes; an empty one means that the certificate cannot be read.
pub async fn fill(pool: &PgPool, ids: &[Uuid], hashes: &[String]) -> Result<(), Outage> {
    sqlx::query(
        "UPDATE device_certificates c SET public_key_sha256 = found.hash \
         FROM unnest($1::uuid[], $2::text[]) AS found (id, hash) WHERE c.id = found.id AND c.public_key_sha256 IS NULL",
    )
    .bind(ids)
    .bind(hashes)
    .execute(pool)
    .await
    .map(drop)
    .map_err(|error| StoreError::from(error).into())
}
