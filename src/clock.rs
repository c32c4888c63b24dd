//! The one place that reads the system's clock; everything else is handed the time.

use crate::domain::time::Timestamp;

/// The time now.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    chrono::Utc::now().into()
}
