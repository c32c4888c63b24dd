//! How large a JSON text is once Postgres stores it: it writes the digits of a number in full.
//!
//! It stores nothing.

use sqlx::PgPool;

use crate::store::error::StoreError;

/// Postgres writes a space after each comma and each colon: a stored text may have this many times
/// the bytes of the compact one.
pub const STORED_FACTOR: usize = 2;

const STORED_BYTES: &str = "SELECT octet_length($1::text::jsonb::text)";

/// The bytes of a JSON text as Postgres stores it. An error of the data: it cannot store it.
pub async fn stored_bytes(pool: &PgPool, text: &str) -> Result<usize, StoreError> {
    let bytes: i32 = sqlx::query_scalar(STORED_BYTES).bind(text).fetch_one(pool).await?;
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}
