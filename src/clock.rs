//! The one place that reads the system clock; all other code takes the time as a parameter.

use crate::domain::time::Timestamp;

/// The current time.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    chrono::Utc::now().into()
}
