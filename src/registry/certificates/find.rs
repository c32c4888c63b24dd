//! Resolves the handle of a certificate to its identifier, and computes the moment for expiry
//! queries.
//!
//! It changes nothing.

use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::registry::ActionContext;
use crate::store::certificates::{self, CertificateError, Handle};

/// Longest period for an expiry query, in days.
pub const MAX_DAYS_AHEAD: u32 = 36_500;

const SECONDS_PER_DAY: i64 = 86_400;

/// Returns the identifier of a certificate. Only a fingerprint is looked up: an identifier is
/// returned unchecked.
pub async fn resolve(context: ActionContext<'_>, which: &Handle) -> Result<Uuid, CertificateError> {
    match which {
        Handle::Id(id) => Ok(*id),
        Handle::Fingerprint(_) => {
            Ok(certificates::find(context.database.pool(), which).await?.certificate.id)
        }
    }
}

/// The moment `days` after `now`.
pub fn days_ahead(now: Timestamp, days: u32) -> Timestamp {
    now.plus_seconds(i64::from(days) * SECONDS_PER_DAY)
}
