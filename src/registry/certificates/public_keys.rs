//! Fills in the hashes of public keys that the rows of certificates lack: those of an earlier
//! version, and those that plain SQL inserted.
//!
//! It works in bounded steps and locks no row for long. A certificate that cannot be read gets an
//! empty hash, so that it is read once.

use tokio::task::spawn_blocking;

use crate::domain::ports::Outage;
use crate::pki::certificate::Certificate;
use crate::store::certificates::public_keys::{self, RowWithoutKey};
use crate::store::connection::database::Database;

/// Rows of one step.
const ROWS_AT_ONCE: i64 = 500;

/// Steps of one round; the next round continues.
const MAX_STEPS: usize = 40;

/// Fills in the missing hashes of one round; returns their number.
pub async fn fill(database: &Database) -> Result<usize, Outage> {
    let mut filled = 0;
    for _ in 0..MAX_STEPS {
        let rows = public_keys::missing(database.pool(), ROWS_AT_ONCE).await?;
        if rows.is_empty() {
            break;
        }
        filled += rows.len();
        // Blocking thread: parsing hundreds of certificates would stall the message path.
        let (ids, hashes): (Vec<_>, Vec<_>) =
            spawn_blocking(move || rows.iter().map(hash_of).unzip())
                .await
                .map_err(|error| Outage(format!("the certificates could not be read: {error}")))?;
        public_keys::fill(database.pool(), &ids, &hashes).await?;
    }
    Ok(filled)
}

fn hash_of(row: &RowWithoutKey) -> (uuid::Uuid, String) {
    let certificate = Certificate::from_pem(row.cert_pem.as_bytes());
    (row.id, certificate.map(|certificate| certificate.public_key_sha256()).unwrap_or_default())
}
