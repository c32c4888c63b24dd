//! Finds certificates for those who ask: by either name, and those that end soon.
//!
//! It reads only.

use uuid::Uuid;

use crate::domain::time::Timestamp;
use crate::registry::ActionContext;
use crate::store::certificates::{self, CertificateError, Handle};

/// The longest look ahead, in days.
pub const MAX_DAYS_AHEAD: u32 = 36_500;

const SECONDS_PER_DAY: i64 = 86_400;

/// The identifier of a certificate. That it is there is only known of one named by its fingerprint.
pub async fn resolve(desk: ActionContext<'_>, which: &Handle) -> Result<Uuid, CertificateError> {
    match which {
        Handle::Id(id) => Ok(*id),
        Handle::Fingerprint(_) => Ok(certificates::find(desk.database.pool(), which).await?.certificate.id),
    }
}

/// The moment so many days ahead.
pub fn days_ahead(now: Timestamp, days: u32) -> Timestamp {
    now.plus_seconds(i64::from(days) * SECONDS_PER_DAY)
}
